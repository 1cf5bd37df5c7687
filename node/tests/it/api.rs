//! The examples of `docs/guide/api.md`, asked of a running node one after the other.

use std::time::Duration;

use serde_json::Value;

use crate::support::{one_node, request, run};

/// A question with the answer that the page promises.
#[derive(Debug, Default)]
struct Example {
    line: usize,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    answer: String,
}

/// The examples of a page: a block of `http`, then a block of `json` with the status.
fn examples(page: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut open: Option<Example> = None;
    while let Some((number, line)) = lines.next() {
        let mut block = || {
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            inside.collect::<Vec<_>>().join("\n")
        };
        if line == "```http" {
            assert!(open.is_none(), "line {}: the example before has no answer", number + 1);
            open = Some(question(number + 1, &block()));
        } else if let Some(status) = line.strip_prefix("```json ") {
            let mut example = open.take().expect("an answer has a question");
            example.status = status.parse().expect("a status");
            example.answer = block();
            found.push(example);
        } else if line.starts_with("```") {
            block();
        }
    }
    assert!(open.is_none(), "the last example has no answer");
    found
}

fn question(line: usize, text: &str) -> Example {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().and_then(|first| first.split_once(' ')).expect("a request");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (method, path, body) = (method.to_owned(), path.to_owned(), body.to_owned());
    Example { line, method, path, headers, body, ..Example::default() }
}

/// Where an answer is not as promised; `…` stands for any text, objects may have more fields.
fn difference(promised: &Value, given: &Value, at: &str) -> Option<String> {
    match (promised, given) {
        (Value::String(any), Value::String(_)) if any == "…" => None,
        (Value::Object(promised), Value::Object(given)) => {
            promised.iter().find_map(|(name, value)| {
                let at = format!("{at}.{name}");
                difference(value, given.get(name).unwrap_or(&Value::Null), &at)
            })
        }
        (Value::Array(promised), Value::Array(given)) if promised.len() == given.len() => {
            let pairs = promised.iter().zip(given).enumerate();
            pairs
                .into_iter()
                .find_map(|(n, (one, other))| difference(one, other, &format!("{at}[{n}]")))
        }
        (promised, given) if promised == given => None,
        (promised, given) => Some(format!("{at}: {promised} is promised, {given} came")),
    }
}

#[test]
fn every_example_of_the_guide_is_answered_as_it_says() {
    let page = include_str!("../../../docs/guide/api.md");
    let examples = examples(page);
    assert!(examples.len() > 20, "only {} examples found", examples.len());
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let mut node = run(&config, port);
    let bearer = format!("Bearer {token}");
    let mut wrong = Vec::new();
    for one in &examples {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.push(("content-type", "application/json"));
        headers.extend(one.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let body = one.body.replace("{token}", &token);
        let answer = request(port, &one.method, &one.path, &headers, &body).unwrap();
        let what = format!("line {}: {} {}", one.line, one.method, one.path);
        if answer.status != one.status {
            wrong.push(format!("{what}: {} is promised, {answer:?} came", one.status));
            continue;
        }
        if one.answer.is_empty() {
            assert!(answer.body.is_empty(), "{what}: {answer:?}");
            continue;
        }
        let promised: Value = serde_json::from_str(&one.answer).expect("JSON in the guide");
        let given = answer.json();
        wrong.extend(difference(&promised, &given, "").map(|no| format!("{what}: {no}: {given}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
}

#[test]
fn a_difference_is_seen() {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (promised, given, same) in [
        (r#"{"a": "…"}"#, r#"{"a": "x", "b": 1}"#, true),
        (r#"{"a": "…"}"#, r#"{"a": 1}"#, false),
        (r#"{"a": null}"#, "{}", true),
        (r#"{"a": [1]}"#, r#"{"a": [1, 2]}"#, false),
        (r#"{"a": [{"b": 1}]}"#, r#"{"a": [{"b": 2}]}"#, false),
    ] {
        assert_eq!(difference(&json(promised), &json(given), "").is_none(), same, "{promised}");
    }
}
