//! Rules, their cases, dashboards and runbooks, as far as a test needs to hold them together.
//!
//! Reads the few shapes that our own files have; whether Prometheus takes them is asked of
//! Prometheus itself. Invariant: it only reads.

/// A rule that raises an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alert {
    /// Its name; several rules may share it, one for each severity.
    pub name: String,
    /// `critical`, `warning`, or `info` for the one that always fires.
    pub severity: String,
    /// Its expression, lines joined.
    pub expression: String,
    /// Its annotations by name, lines joined.
    pub annotations: Vec<(String, String)>,
}

/// A case of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The alert that it asks for.
    pub alert: String,
    /// Severities of the alerts that it wants; empty: it wants none.
    pub wanted: Vec<String>,
    /// What it says of itself: name, severity, what shall be.
    pub name: String,
}

/// The alerts of a file of rules.
pub fn alerts(text: &str) -> Vec<Alert> {
    blocks(text, "- alert: ").iter().map(|block| alert(block)).collect()
}

/// Names and expressions of the recorded series of a file of rules.
pub fn records(text: &str) -> Vec<(String, String)> {
    let blocks = blocks(text, "- record: ");
    blocks.iter().map(|block| (first(block), value(block, "expr"))).collect()
}

/// The cases of a file of promtool's.
pub fn cases(text: &str) -> Vec<Case> {
    let case = |block: &String| Case {
        name: first(block),
        alert: value(block, "alertname"),
        wanted: labels_of(block).filter_map(|labels| inline(labels, "severity")).collect(),
    };
    blocks(text, "- name: ").iter().map(case).collect()
}

fn labels_of(block: &str) -> impl Iterator<Item = &str> {
    block.lines().filter_map(|line| line.trim().strip_prefix("- exp_labels:"))
}

fn alert(block: &str) -> Alert {
    let labels = value(block, "labels");
    let annotations = block.split("annotations:\n").nth(1).unwrap_or_default();
    let names = annotations.lines().filter(|line| line.starts_with("          "));
    let names = names.filter(|line| !line.starts_with("           "));
    let names = names.filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    Alert {
        name: first(block),
        severity: inline(&labels, "severity").unwrap_or_default(),
        expression: value(block, "expr"),
        annotations: names.map(|name| (name.to_owned(), value(block, name))).collect(),
    }
}

/// The parts of a text that begin with a mark, each up to the next item of its list.
fn blocks(text: &str, mark: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = line.len() - trimmed.len();
        if trimmed.starts_with("- ") && inside.is_none_or(|own| depth <= own) {
            inside = trimmed.starts_with(mark).then_some(depth);
            if inside.is_some() {
                found.push(String::new());
            }
        }
        if let (Some(_), Some(block)) = (inside, found.last_mut())
            && !trimmed.starts_with('#')
        {
            block.push_str(line);
            block.push('\n');
        }
    }
    found
}

/// What stands behind the colon of a block's first line.
fn first(block: &str) -> String {
    let line = block.lines().next().unwrap_or_default();
    line.split_once(": ").map_or("", |(_, value)| value).trim().to_owned()
}

/// The value of a key of a block: of one line, or of the lines of a folded text.
fn value(block: &str, key: &str) -> String {
    let mut lines = block.lines();
    let Some((depth, rest)) = lines.find_map(|line| {
        let trimmed = line.trim_start().trim_start_matches("- ");
        let rest = trimmed.strip_prefix(key)?.strip_prefix(':')?;
        Some((line.len() - line.trim_start().len(), rest.trim()))
    }) else {
        return String::new();
    };
    if !rest.starts_with('>') && !rest.starts_with('|') {
        return rest.to_owned();
    }
    let deeper =
        |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > depth;
    let folded: Vec<&str> = lines.take_while(deeper).map(str::trim).collect();
    folded.join(" ").trim().to_owned()
}

/// A value of a map that is written in one line.
fn inline(map: &str, key: &str) -> Option<String> {
    let (_, rest) = map.split_once(&format!("{key}: "))?;
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    Some(rest[..end].trim().trim_matches('"').to_owned())
}

/// Names in an expression of PromQL that are metrics or recorded series of ours, and those of
/// the process: `holdfast_…`, `holdfast:…`, `process_…`, without the endings of histograms.
pub fn metrics(expression: &str) -> Vec<String> {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let plain = unquoted(expression);
    let words = plain.split(|letter| !inner(letter));
    let ours = words.filter(|word| {
        ["holdfast_", "holdfast:", "process_"].iter().any(|start| word.starts_with(start))
    });
    let mut found: Vec<String> = ours.map(|word| base(word).to_owned()).collect();
    found.sort();
    found.dedup();
    found
}

/// A histogram's name without what stands for its parts.
fn base(word: &str) -> &str {
    let ends = ["_seconds_bucket", "_seconds_sum", "_seconds_count"];
    match ends.iter().any(|end| word.ends_with(end)) {
        true => word.rsplit_once('_').map_or(word, |(base, _)| base),
        false => word,
    }
}

/// The selectors of an expression: a metric of ours with its braces, without a range.
pub fn selectors(expression: &str) -> Vec<String> {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(inner) {
        rest = &rest[at..];
        let end = rest.find(|letter| !inner(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let braces = after.strip_prefix('{').and_then(|text| text.find('}')).map_or(0, |at| at + 2);
        if !metrics(word).is_empty() {
            found.push(format!("{word}{}", &after[..braces]));
        }
        rest = match after.strip_prefix('"') {
            Some(text) => text.split_once('"').map_or("", |(_, rest)| rest),
            None => &after[braces..],
        };
    }
    found
}

/// A text without what stands between quotes.
fn unquoted(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// The verbs of `holdfast` that a page names in code: the words up to the first that is an
/// argument.
pub fn verbs(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for code in page.split('`').skip(1).step_by(2) {
        let Some(words) = code.strip_prefix("holdfast ") else { continue };
        let verb = |word: &&str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        let words = words.split_whitespace().take_while(|word| !word.starts_with('-'));
        let words: Vec<&str> = words.take_while(verb).collect();
        if !words.is_empty() {
            found.push(words.join(" "));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"groups:
  - name: a
    rules:
      # why
      - record: holdfast:a:b
        expr: >-
          x
          / y

      - alert: Down
        expr: up == 0
        labels: { severity: critical, area: a }
        annotations:
          summary: >-
            It is
            down
          runbook_url: https://a/b
"#;

    #[test]
    fn rules_are_read() {
        assert_eq!(records(RULES), [("holdfast:a:b".to_owned(), "x / y".to_owned())]);
        let found = alerts(RULES);
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].name, &*found[0].severity), ("Down", "critical"));
        assert_eq!(found[0].expression, "up == 0");
        let wanted = [("summary", "It is down"), ("runbook_url", "https://a/b")];
        assert_eq!(found[0].annotations, wanted.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn cases_are_read() {
        let text = r#"tests:
  - name: Down critical fires
    alert_rule_test:
      - eval_time: 1m
        alertname: Down
        exp_alerts:
          - exp_labels: { area: "a", severity: "critical" }
  - name: Down critical is quiet
    alert_rule_test:
      - eval_time: 1m
        alertname: Down
        exp_alerts: []
"#;
        let found = cases(text);
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].alert, found[0].wanted.join(" ")), ("Down", "critical".to_owned()));
        assert_eq!((&*found[1].name, found[1].wanted.len()), ("Down critical is quiet", 0));
    }

    #[test]
    fn names_and_selectors_are_found() {
        let text = r#"rate(holdfast_a_seconds_bucket{le="holdfast_no"}[5m])
            + on (b) label_replace(holdfast:c:d, "e", "$1", "f", "(.*)")"#;
        assert_eq!(metrics(text), ["holdfast:c:d", "holdfast_a_seconds"]);
        let wanted = ["holdfast_a_seconds_bucket{le=\"holdfast_no\"}", "holdfast:c:d"];
        assert_eq!(selectors(text), wanted);
    }

    #[test]
    fn verbs_are_found() {
        let page = "`holdfast meter show SERIAL` and `holdfast --version` `holdfast_a` `other`";
        assert_eq!(verbs(page), ["meter show"]);
    }
}
