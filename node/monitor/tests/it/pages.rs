//! A rule as somebody makes it on the pages: logged in, tried, saved, told by, switched off.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::stories::config;
use crate::support::{MailSettings, Monitor, Node, until};

const USER: &str = "[[user]]\nname = \"olga\"\npassword_file = \"olga.password\"\n";
const PASSWORD: &str = "correct horse";

/// A browser with one cookie: what it sends says that it comes from the monitor's own page.
struct Browser<'a> {
    monitor: &'a Monitor,
    cookie: String,
}

impl Browser<'_> {
    /// A form sent: status, head and body.
    fn send(&self, path: &str, form: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.monitor.address).unwrap();
        let (cookie, length) = (&self.cookie, form.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\n\
             Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    fn log_in(&mut self, password: &str) -> bool {
        let form = format!("name=olga&password={}", password.replace(' ', "+"));
        let (status, head, _) = self.send("/login", &form);
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let Some(cookie) = cookie.filter(|_| status == 303) else { return false };
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        true
    }

    fn edit(&self, form: &str) -> (u16, String) {
        let (status, _, body) = self.send("/rules/edit", form);
        (status, body)
    }
}

fn rule<'a>(rules: &'a Value, name: &str) -> Option<&'a Value> {
    rules["items"].as_array()?.iter().find(|one| one["name"] == name)
}

#[test]
fn a_rule_made_on_the_page_tells_lives_through_a_kill_and_is_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start("ready 1\nbattery_volts 11\n");
    let settings = MailSettings::new(folder.path());
    std::fs::write(folder.path().join("olga.password"), PASSWORD).unwrap();
    let mut monitor = Monitor::start(folder.path(), &config(&[&node], settings.port, USER));
    let cookie = {
        let mut browser = Browser { monitor: &monitor, cookie: String::new() };
        let low = "kind=rule&name=battery_low&expr=battery_volts+%3C+12&for=0s\
                   &severity=warning&policy=duty&summary=battery+low";
        assert_eq!(browser.edit(&format!("{low}&new=yes&act=save&reason=x")).0, 401, "no login");
        assert!(!browser.log_in("wrong"));
        assert!(browser.log_in(PASSWORD));

        let bad = low.replace("+%3C+12", "+%3C+");
        let (status, body) = browser.edit(&format!("{bad}&new=yes&act=save&reason=winter"));
        assert!(status == 422 && body.contains("battery_volts &lt; "), "{status}: {body}");
        let (status, body) = browser.edit(&format!("{low}&new=yes&act=save&reason=+"));
        assert!(status == 422 && body.contains("say why"), "{status}: {body}");
        assert!(rule(&monitor.get("/api/v1/rules"), "battery_low").is_none(), "nothing is saved");

        let (status, body) = browser.edit(&format!("{low}&new=yes&act=try"));
        assert!(status == 200 && body.contains("11"), "{status}: what it would give: {body}");
        assert!(
            rule(&monitor.get("/api/v1/rules"), "battery_low").is_none(),
            "a try saves nothing"
        );

        assert_eq!(browser.edit(&format!("{low}&new=yes&act=save&reason=winter")).0, 303);
        let (status, body) = browser.edit(&format!("{low}&new=yes&act=save&reason=winter"));
        assert!(status == 422 && body.contains("it is there already"), "{status}: {body}");
        browser.cookie
    };
    until("it fires", || (monitor.state("battery_low")? == "firing").then_some(()));
    let rules = monitor.get("/api/v1/rules");
    let made = rule(&rules, "battery_low").unwrap();
    assert!(made["origin"] == "pages" && made["by"] == "olga", "{made}");
    assert_eq!(rules["changes"][0]["reason"], "winter");

    monitor.kill_and_start();
    assert_eq!(rule(&monitor.get("/api/v1/rules"), "battery_low").unwrap()["off"], false);
    let mut browser = Browser { monitor: &monitor, cookie };
    let off = "kind=rule&name=battery_low&act=off&reason=spring";
    assert_eq!(browser.edit(off).0, 401, "sessions end with the process");
    assert!(browser.log_in(PASSWORD));
    assert_eq!(browser.edit(off).0, 303);
    let rules = monitor.get("/api/v1/rules");
    assert_eq!(rule(&rules, "battery_low").unwrap()["off"], true, "{rules}");
    assert_eq!(rules["changes"][0]["reason"], "spring");
    until("it is over", || (monitor.state("battery_low")? == "resolved").then_some(()));
}
