//! A node goes away, and what people hear: with a modem and a mail server that are real programs.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Mail, MailSettings, Modem, Monitor, Node, exchange, until};

/// Two nodes, Anna with a telephone and a mailbox, and what time scales are for tests.
pub fn config(nodes: &[&Node], mail_port: u16, more: &str) -> String {
    let nodes: String = nodes
        .iter()
        .enumerate()
        .map(|(nth, node)| format!("[[node]]\nname = \"n{nth}\"\nurl = \"{}\"\n", node.url))
        .collect();
    format!(
        r#"
state_dir = "state"
name = "m1"
zone = "Europe/Madrid"
[http]
listen = "@HTTP@"
public_url = "http://monitor.example.com"
token_file = "token"
[alertmanager]
token_file = "token"
policy = "duty"
[scrape]
interval = "500ms"
timeout = "10s"
[own]
back_off = "1s"
back_off_max = "3s"
policy = "own"
{nodes}
[[rule]]
name = "node_down"
expr = "up == 0"
for = "2s"
severity = "critical"
policy = "duty"
group_by = ["node"]
summary = "{{{{ node }}}} does not answer"
[[policy]]
name = "duty"
to = ["anna"]
[[policy]]
name = "own"
to = ["boss"]
[[contact]]
name = "anna"
language = "ru"
tell = "all"
[[contact.way]]
channel = "sms"
to = "+79161234567"
[[contact.way]]
channel = "mail"
to = "anna@example.com"
[[contact]]
name = "boss"
[[contact.way]]
channel = "sms"
to = "+34600111222"
[[contact.way]]
channel = "mail"
to = "boss@example.com"
[[channel]]
name = "sms"
kind = "modem"
device = "modem"
[[channel]]
name = "mail"
kind = "smtp"
host = "localhost"
port = {mail_port}
ca_file = "mail.crt"
user = "holdfast"
password_file = "password"
from = "Holdfast <m1@example.com>"
timeout = "60s"
{more}
"#
    )
}

fn whole(folder: &Path) -> (Node, Node, Modem, MailSettings, String) {
    let (one, two) = (Node::start("ready 1\n"), Node::start("ready 1\n"));
    let modem = Modem::start(folder);
    let mail = MailSettings::new(folder);
    let config = config(&[&one, &two], mail.port, "");
    (one, two, modem, mail, config)
}

/// The texts that went to a number, parts joined.
fn texts(modem: &Modem, to: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for part in modem.sent().iter().filter(|part| part["to"] == to) {
        let text = part["text"].as_str().unwrap();
        match part["part"][2].as_u64() {
            None | Some(1) => texts.push(text.to_owned()),
            Some(_) => texts.last_mut().unwrap().push_str(text),
        }
    }
    texts
}

const ANNA: &str = "+79161234567";

/// On a slow machine the boss may hear of a channel that fails for a moment.
fn is_annas(mail: &Value) -> bool {
    mail["to"][0] == "anna@example.com"
}

fn annas(mail: &Mail) -> Vec<Value> {
    mail.got().into_iter().filter(is_annas).collect()
}

#[test]
fn one_sms_and_one_mail_then_one_recovery_and_the_answer_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, mut modem, settings, config) = whole(folder.path());
    let mail = settings.start();
    let monitor = Monitor::start(folder.path(), &config);
    two.set_up(false);
    // An SMS in several parts is whole when its code, the last word, has come.
    let is_code = |word: &str| word.len() == 5 && word.bytes().all(|one| one.is_ascii_digit());
    let text = until("one SMS and one mail", || {
        let told = texts(&modem, ANNA);
        let text = told.first()?;
        let whole = text.split_whitespace().last().is_some_and(is_code);
        (whole && told.len() == 1 && annas(&mail).len() == 1).then(|| text.clone())
    });
    assert!(text.starts_with("ТРЕВОГА критическая node_down: n1 does not answer"), "{text}");
    let got = annas(&mail).remove(0);
    assert_eq!(got["tls"], true);
    assert_eq!(got["automatic"], "auto-generated");
    assert_eq!(got["subject"], "[ТРЕВОГА] критическая: node_down");
    assert!(got["html"].as_str().unwrap().contains("<li>n1 does not answer</li>"));
    // The delivery report has come by itself.
    until("the report", || {
        let messages = monitor.get("/api/v1/messages");
        let items = messages["items"].as_array().unwrap().clone();
        items.iter().any(|one| one["channel"] == "sms" && one["stage"] == "delivered").then_some(())
    });
    let code = text.split_whitespace().last().unwrap();
    modem.order(&format!("receive {ANNA} {code}"));
    until("acknowledged", || (monitor.state("node_down")? == "acknowledged").then_some(()));
    two.set_up(true);
    until("the recovery", || {
        (texts(&modem, ANNA).len() == 2 && annas(&mail).len() == 2).then_some(())
    });
    assert!(texts(&modem, ANNA)[1].starts_with("УСТРАНЕНО"), "{:?}", texts(&modem, ANNA));
    // Nothing more comes: a few turns of everything show it.
    std::thread::sleep(Duration::from_secs(3));
    let got = annas(&mail);
    assert_eq!((texts(&modem, ANNA).len(), got.len()), (2, 2));
    assert_eq!(got[0]["peer"], got[1]["peer"], "the connection is used again");
}

#[test]
fn a_link_shows_and_its_button_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, _modem, settings, config) = whole(folder.path());
    let mail = settings.start();
    let monitor = Monitor::start(folder.path(), &config);
    two.set_up(false);
    let plain = until("the mail", || Some(annas(&mail).first()?["plain"].as_str()?.to_owned()));
    let link = plain.split("http://monitor.example.com").nth(1).unwrap();
    let path = link.split_whitespace().next().unwrap();
    let (status, page) = exchange(&monitor.address, &format!("GET {path}"), None).unwrap();
    assert!(status == 200 && page.contains("<button>Подтвердить</button>"), "{page}");
    assert_eq!(monitor.state("node_down").as_deref(), Some("firing"), "looking changes nothing");
    let (status, page) = exchange(&monitor.address, &format!("POST {path}"), None).unwrap();
    assert!(status == 200 && page.contains("Подтверждено: anna"), "{page}");
    assert_eq!(monitor.state("node_down").as_deref(), Some("acknowledged"));
    let guess = "GET /ack/00000000000000000000000000000000";
    assert_eq!(exchange(&monitor.address, guess, None).unwrap().0, 404);
}

#[test]
fn a_killed_monitor_tells_once_or_marks_the_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, modem, settings, config) = whole(folder.path());
    let mail = settings.start();
    let mut monitor = Monitor::start(folder.path(), &config);
    // Killed before it tells, while it tells, and after: each must end in one message, or in a
    // second one that says that it is a repeat.
    for pause_ms in [1500, 2500, 2700, 3000, 3500] {
        let (sms_before, mail_before) = (texts(&modem, ANNA).len(), mail.got().len());
        two.set_up(false);
        std::thread::sleep(Duration::from_millis(pause_ms));
        monitor.kill_and_start();
        until("an alarm by SMS and mail", || {
            let stages = monitor.get("/api/v1/state")["messages"].clone();
            let quiet = stages["queued"] == 0 && stages["sending"] == 0;
            let mails = mail.got().into_iter().skip(mail_before).filter(is_annas).count();
            let told = texts(&modem, ANNA).len() > sms_before && mails > 0;
            (quiet && told).then_some(())
        });
        let sms = texts(&modem, ANNA).split_off(sms_before);
        let mut mails = mail.got().split_off(mail_before);
        mails.retain(is_annas);
        let firsts = sms.iter().filter(|text| !text.starts_with("(повтор)")).count();
        // None when the first was cut off before it was there: the one that came says "repeat".
        assert!(firsts <= 1, "killed after {pause_ms} ms: {sms:?}");
        let firsts =
            mails.iter().filter(|one| !one["subject"].as_str().unwrap().contains("(повтор)"));
        assert!(firsts.count() <= 1, "killed after {pause_ms} ms: {mails:?}");
        let ids: std::collections::BTreeSet<_> =
            mails.iter().map(|one| one["id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "a repeat has the Message-ID of the first");
        two.set_up(true);
        until("the recovery", || {
            // In this order: what is over queues its messages in the same turn.
            let over = monitor.state("node_down")? == "resolved";
            let stages = monitor.get("/api/v1/state")["messages"].clone();
            (over && stages["queued"] == 0 && stages["sending"] == 0).then_some(())
        });
    }
}

#[test]
fn without_mail_and_modem_it_is_queued_shown_and_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, modem, settings, config) = whole(folder.path());
    modem.unplug();
    let mut monitor = Monitor::start(folder.path(), &config);
    two.set_up(false);
    until("both wait, and the failing channels are alarms", || {
        let failing = monitor.state("channel_failing")? == "firing";
        let stages = monitor.get("/api/v1/state")["messages"].clone();
        (failing && stages["queued"].as_u64()? + stages["sending"].as_u64()? >= 2).then_some(())
    });
    until("the page says so", || {
        let page = monitor.metrics();
        let trouble = "holdfast_monitor_channel_trouble{channel=\"sms\"} 1";
        (page.contains(trouble) && page.contains("holdfast_monitor_messages{stage=\"queued\"}"))
            .then_some(())
    });
    monitor.kill_and_start();
    let mail = settings.start();
    until("the mail comes when its server does", || {
        mail.got().iter().any(|one| one["to"][0] == "anna@example.com").then_some(())
    });
    let modem = Modem::start(folder.path());
    until("the SMS comes when the modem does", || (!texts(&modem, ANNA).is_empty()).then_some(()));
    let anna = texts(&modem, ANNA);
    assert_eq!(anna.len(), 1, "{anna:?}");
}

/// Whether Anna's message waits on a channel, with what was wrong, and the channel says so.
fn waits(monitor: &Monitor, channel: &str) -> Option<()> {
    let messages = monitor.get("/api/v1/messages");
    let of = |one: &&Value| one["channel"] == channel && one["contact"] == "anna";
    let message = messages["items"].as_array()?.iter().find(of)?.clone();
    let is_open = message["stage"] == "queued" || message["stage"] == "sending";
    let health = &monitor.get("/api/v1/state")["channels"][channel];
    let shown = !health["trouble"].is_null() || health["failures"].as_u64()? > 0;
    (is_open && message["error"].is_string() && shown).then_some(())
}

#[test]
fn without_mail_the_sms_goes_and_the_refusal_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, modem, settings, config) = whole(folder.path());
    let monitor = Monitor::start(folder.path(), &config);
    two.set_up(false);
    until("the SMS", || (texts(&modem, ANNA).len() == 1).then_some(()));
    until("the mail waits, and is shown to", || waits(&monitor, "mail"));
    let mail = settings.start();
    until("the mail comes when its server does", || (annas(&mail).len() == 1).then_some(()));
}

#[test]
fn without_the_modem_the_mail_goes_and_the_trouble_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, modem, settings, config) = whole(folder.path());
    let mail = settings.start();
    modem.unplug();
    let monitor = Monitor::start(folder.path(), &config);
    two.set_up(false);
    until("the mail", || (annas(&mail).len() == 1).then_some(()));
    until("the SMS waits, and is shown to", || waits(&monitor, "sms"));
    let modem = Modem::start(folder.path());
    until("the SMS comes when the modem does", || (texts(&modem, ANNA).len() == 1).then_some(()));
}

#[test]
fn a_modem_that_refuses_and_hangs_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, _two, mut modem, settings, config) = whole(folder.path());
    let _mail = settings.start();
    let monitor = Monitor::start(folder.path(), &config);
    // While the modem is being prepared its messages wait, and that is no failure.
    modem.order("fail 38 2");
    assert_eq!(monitor.send("POST /api/v1/test", json!({"contact": "boss"})), 202);
    until("the SMS after two refusals", || {
        let texts = texts(&modem, "+34600111222");
        texts.contains(&"m1: a test message".to_owned()).then_some(())
    });
    // Never on this way: the mail says what became of it.
    modem.order("fail 21 1");
    assert_eq!(monitor.send("POST /api/v1/test", json!({"contact": "boss"})), 202);
    until("a refusal for good", || {
        let messages = monitor.get("/api/v1/messages");
        let items = messages["items"].as_array()?.clone();
        items.iter().any(|one| one["stage"] == "failed" && one["channel"] == "sms").then_some(())
    });
    // It was an alarm until another message reached the boss.
    assert!(monitor.state("delivery_failed").is_some());
    assert_eq!(monitor.send("POST /api/v1/test", json!({"contact": "nobody"})), 404);
}

#[test]
fn silences_have_a_reason_and_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let (_one, two, modem, settings, config) = whole(folder.path());
    let mail = settings.start();
    let monitor = Monitor::start(folder.path(), &config);
    let silence = |until: &str, reason: &str| {
        let labels = json!({"alarm": "node_down", "node": "n1"});
        let body = json!({"labels": labels, "reason": reason, "by": "olga", "until": until});
        monitor.send("POST /api/v1/silences", body)
    };
    assert_eq!(silence("2020-01-01T00:00:00Z", "works"), 400);
    assert_eq!(silence("2099-01-01T00:00:00Z", ""), 400);
    assert_eq!(silence("2099-01-01T00:00:00Z", "works"), 201);
    two.set_up(false);
    until("silenced", || (monitor.state("node_down")? == "silenced").then_some(()));
    assert!(annas(&mail).is_empty() && texts(&modem, ANNA).is_empty());
    let id = monitor.get("/api/v1/silences")["items"][0]["id"].as_u64().unwrap();
    assert_eq!(monitor.send(&format!("DELETE /api/v1/silences/{id}"), json!({})), 204);
    until("told at last", || (annas(&mail).len() == 1).then_some(()));
}

#[test]
fn without_the_token_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start("ready 1\n");
    let settings = MailSettings::new(folder.path());
    let config = config(&[&node], settings.port, "").replace("token_file = \"token\"\n[al", "[al");
    let monitor = Monitor::start(folder.path(), &config);
    for path in ["/api/v1/incidents", "/api/v1/messages", "/api/v1/state", "/api/v1/silences"] {
        let (status, body) = exchange(&monitor.address, &format!("GET {path}"), None).unwrap();
        assert!(status == 401 && body.contains("unauthorized"), "{path}: {status}");
    }
    assert_eq!(exchange(&monitor.address, "GET /livez", None).unwrap().0, 200);
}
