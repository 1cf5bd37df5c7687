//! Rules in words, and what they give on a small window.

use super::*;
use crate::exposition;

/// Two nodes over ten seconds; the second is away at the end.
fn window() -> Window {
    let mut window = Window::new(600_000);
    for second in 0..=10 {
        let page = format!(
            "ready 1\nlag{{area=\"a\"}} {second}\nlag{{area=\"b\"}} 3\ndone {}\nat 5\n",
            second * 2
        );
        let samples = exposition::parse(&page, |_| true).unwrap();
        window.put("n1", second * 1000, samples.clone());
        window.put("n2", second * 1000, samples);
    }
    window.lost("n2", 10_000);
    window
}

/// What an expression gives, as `node=n1,area=a 4`.
fn given(text: &str) -> Vec<String> {
    let vector = Expr::parse(text).unwrap().evaluate(&window(), 10_000);
    let shown = vector.into_iter().map(|(labels, value)| {
        let labels = labels.into_iter().map(|(name, value)| format!("{name}={value}"));
        format!("{} {value}", labels.collect::<Vec<_>>().join(","))
    });
    shown.collect()
}

#[test]
fn rules_hold_for_what_they_say() {
    let cases: [(&str, &[&str]); 19] = [
        ("up == 0", &["node=n2 0"]),
        ("up{node=\"n1\"} == 0", &[]),
        ("ready", &["node=n1 1"]),
        ("lag > 3", &["area=a,node=n1 10"]),
        ("lag >= 3", &["area=a,node=n1 10", "area=b,node=n1 3"]),
        ("lag{area!=\"a\"}", &["area=b,node=n1 3"]),
        ("sum(lag)", &[" 13"]),
        ("sum by (node) (lag)", &["node=n1 13"]),
        ("max(lag) - min(lag) > 5", &[" 7"]),
        ("avg(lag) == 6.5", &[" 6.5"]),
        ("count(up == 1) < 2", &[" 1"]),
        ("absent(ready{node=\"n2\"})", &["node=n2 1"]),
        ("absent(ready)", &[]),
        ("rate(done[5s])", &["node=n1 2"]),
        ("increase(done[1m]) > 10", &["node=n1 20"]),
        ("age(at) > 4", &["node=n1 5"]),
        ("2 * lag / (1 + 1) != 3", &["area=a,node=n1 10"]),
        ("lag * lag", &["area=a,node=n1 100", "area=b,node=n1 9"]),
        ("5 < lag", &["area=a,node=n1 10"]),
    ];
    for (text, wanted) in cases {
        assert_eq!(given(text), wanted, "{text}");
    }
}

#[test]
fn a_counter_that_begins_again_has_grown() {
    let mut window = Window::new(600_000);
    for (at, value) in [(0, 90), (1000, 100), (2000, 4), (3000, 6)] {
        let page = format!("done {value}\n");
        window.put("n1", at, exposition::parse(&page, |_| true).unwrap());
    }
    let grown = Expr::parse("increase(done[1m])").unwrap().evaluate(&window, 3000);
    assert_eq!(grown[0].1, 16.0);
}

#[test]
fn faults_name_their_place() {
    let cases = [
        ("", 0, "a name is expected here"),
        ("1 + 1", 0, "it gives a number, not series"),
        ("lag >", 5, "a name is expected here"),
        ("lag{area=a}", 9, "a text in quotes is expected here"),
        ("rate(lag)", 8, "a time such as [5m] is expected here"),
        ("rate(lag[5])", 8, "no time such as [5m] is here"),
        ("lag ~ 4", 4, "~ means nothing here"),
        ("lag lag", 4, "nothing more is expected here"),
    ];
    for (text, at, what) in cases {
        let wanted = Malformed { at, what: what.into() };
        assert_eq!(Expr::parse(text), Err(wanted), "{text}");
    }
    let deep = format!("{}lag{}", "(".repeat(40), ")".repeat(40));
    assert_eq!(Expr::parse(&deep).unwrap_err().what, "nested too deep");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z(){}\\[\\]<>=!+*/ 0-9\",~é]{0,60}") {
        if let Ok(expr) = Expr::parse(&text) {
            expr.evaluate(&window(), 10_000);
        }
    }
}
