//! Configurations as people write them, and all their faults at once.

use super::*;

const WHOLE: &str = r#"
state_dir = "state"
zone = "Europe/Madrid"

[[node]]
name = "n1"
url = "http://127.0.0.1:8080/metrics"

[[rule]]
name = "node_down"
expr = "up == 0"
for = "10s"
severity = "critical"
policy = "duty"

[[policy]]
name = "duty"
to = ["night"]

[[schedule]]
name = "night"
start = "2026-10-19T09:00"
shift_hours = 168
members = ["anna"]

[[contact]]
name = "anna"
language = "es"
[[contact.way]]
channel = "mail"
to = "anna@example.com"

[[channel]]
name = "mail"
kind = "smtp"
host = "mail.example.com"
from = "holdfast@example.com"
"#;

fn faults(text: &str) -> Vec<String> {
    let found = read(text, Path::new("/nowhere")).expect_err("there are faults");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_one_is_read() {
    let config = read(WHOLE, Path::new("/etc/holdfast")).unwrap();
    assert_eq!(config.rules[0].hold, Span::parse("10s").unwrap());
    assert_eq!(config.state_dir, Path::new("/etc/holdfast/state"));
    assert_eq!(config.policies[0].repeat.millis(), 4 * 3600 * 1000);
}

#[test]
fn every_fault_is_named_at_once() {
    let text = WHOLE
        .replace("up == 0", "up ==")
        .replace("policy = \"duty\"", "policy = \"nobody\"")
        .replace("to = [\"night\"]", "to = [\"day\"]\ncolour = \"red\"")
        .replace("language = \"es\"", "language = \"tlh\"")
        .replace("anna@example.com", "anna")
        .replace("Europe/Madrid", "Europe/Nowhere")
        .replace("http://127", "ftp://127");
    let found = faults(&text);
    for wanted in [
        "rule \"node_down\": expr: a name is expected here",
        "rule \"node_down\": there is no policy \"nobody\"",
        "policy \"duty\": unknown field `colour`",
        "contact \"anna\": there is no language \"tlh\"",
        "contact \"anna\": \"anna\" is no mail address",
        "zone: there is no zone",
        "node \"n1\": \"ftp://",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(wanted)), "{wanted} not in {found:#?}");
    }
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s3cret-token\n").unwrap();
    let text = format!("{WHOLE}\n[http]\ntoken_file = \"token\"\n");
    let config = read(&text, folder.path()).unwrap();
    assert_eq!(config.http.token.as_ref().map(Secret::expose), Some("s3cret-token"));
    assert!(!format!("{config:?}").contains("s3cret"));
    std::fs::write(folder.path().join("token"), "\n").unwrap();
    let found = read(&text, folder.path()).unwrap_err();
    assert!(found[0].what.ends_with("is empty"), "{found:?}");
    assert!(faults(&text)[0].contains("No such file"));
}

#[test]
fn a_password_does_not_go_in_the_clear() {
    let text =
        WHOLE.replace("host = ", "tls = \"none\"\nuser = \"u\"\npassword_file = \"p\"\nhost = ");
    assert!(faults(&text).iter().any(|fault| fault.contains("in the clear")));
}

#[test]
fn times_have_units() {
    for (text, millis) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1d", 86_400_000)] {
        assert_eq!(Span::parse(text).map(Span::millis), Some(millis));
    }
    for text in ["", "10", "s", "-1s", "1w", "99999999999999999999s", "1.5h", "4000d"] {
        assert_eq!(Span::parse(text), None, "{text}");
    }
}
