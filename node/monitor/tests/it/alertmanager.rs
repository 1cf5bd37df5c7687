//! Debian's Alertmanager posts to the monitor.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Guard, MailSettings, Monitor, TOKEN, exchange, free_port, until};

const CONFIG: &str = r#"
state_dir = "state"
[http]
listen = "@HTTP@"
token_file = "token"
[alertmanager]
token_file = "token"
policy = "duty"
[[policy]]
name = "duty"
to = ["anna"]
[[contact]]
name = "anna"
[[contact.way]]
channel = "mail"
to = "anna@example.com"
[[channel]]
name = "mail"
kind = "smtp"
host = "localhost"
port = @MAIL@
ca_file = "mail.crt"
user = "holdfast"
password_file = "password"
from = "m1@example.com"
timeout = "60s"
"#;

#[test]
fn its_alerts_become_one_mail_and_one_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MailSettings::new(folder.path());
    let mail = settings.start();
    let config = CONFIG.replace("@MAIL@", &settings.port.to_string());
    let monitor = Monitor::start(folder.path(), &config);
    let web = format!("127.0.0.1:{}", free_port());
    let file = folder.path().join("alertmanager.yml");
    let text = format!(
        "route: {{receiver: holdfast, group_by: [alertname], group_wait: 1s, group_interval: 1s}}\n\
         receivers:\n- name: holdfast\n  webhook_configs:\n\
         \x20 - url: http://{}/api/v1/alertmanager\n\
         \x20   http_config: {{authorization: {{credentials: {TOKEN}}}}}\n",
        monitor.address
    );
    std::fs::write(&file, text).unwrap();
    let _alertmanager = Guard(
        Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("am").display()))
            .arg(format!("--web.listen-address={web}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-alertmanager is in .ci/packages"),
    );
    until("Alertmanager is ready", || {
        exchange(&web, "GET /-/ready", None).filter(|(status, _)| *status == 200)
    });
    let alert = |meter: u32, ends: Option<&str>| {
        json!({
            "labels": {
                "alertname": "PowerDown", "severity": "critical", "meter": meter.to_string()
            },
            "annotations": {"summary": format!("meter {meter} has no power")},
            "endsAt": ends,
        })
    };
    let post = |ends: Option<&str>| {
        let alerts: Vec<_> = (0..20).map(|meter| alert(meter, ends)).collect();
        let body = json!(alerts).to_string();
        assert_eq!(exchange(&web, "POST /api/v2/alerts", Some(&body)).unwrap().0, 200);
    };
    post(None);
    until("the mail", || (mail.got().len() == 1).then_some(()));
    let got = mail.got().remove(0);
    assert_eq!(got["subject"], "[ALARM] critical: PowerDown");
    let plain = got["plain"].as_str().unwrap().to_owned();
    assert!(plain.contains("has no power") && plain.contains("+15"), "{plain}");
    post(Some("2020-01-01T00:00:00Z"));
    until("the recovery", || (mail.got().len() == 2).then_some(()));
    assert_eq!(mail.got()[1]["subject"], "[OVER] critical: PowerDown");
    assert_eq!(monitor.state("PowerDown").as_deref(), Some("resolved"));
}

#[test]
fn a_post_that_is_not_right_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = MailSettings::new(folder.path());
    let config = CONFIG.replace("@MAIL@", &settings.port.to_string());
    let monitor = Monitor::start(folder.path(), &config);
    let post = |body: serde_json::Value| monitor.send("POST /api/v1/alertmanager", body);
    assert_eq!(post(json!({"version": "3", "groupKey": "g"})), 400);
    assert_eq!(post(json!([])), 422);
    assert_eq!(post(json!({"version": "4", "groupKey": "g", "alerts": []})), 200);
    assert!(monitor.metrics().contains("holdfast_monitor_posted_total{result=\"refused\"} 1"));
}
