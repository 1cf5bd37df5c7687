//! The text that `/metrics` gives, format 0.0.4, as samples.
//!
//! https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md. Types and
//! help are passed over: rules name series. Why not a crate: ADR 0029. Invariants: never panics
//! on input; gives at most `MAX_SERIES` samples; a page that breaks the format is refused as a
//! whole, with the line.

use std::collections::BTreeMap;

/// Labels of a series by name, the metric's name not among them.
pub type Labels = BTreeMap<String, String>;

/// The most series that are taken from one page.
pub const MAX_SERIES: usize = 20_000;
/// The most labels of a series.
const MAX_LABELS: usize = 64;

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// A page that is not of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line that cannot be read, counted from one.
    #[error("line {0} is not of the format")]
    Line(usize),
    /// More series than are taken.
    #[error("more than {MAX_SERIES} series that rules name")]
    TooMany,
}

/// The samples of a page whose names are wanted.
pub fn parse(page: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Sample>, Malformed> {
    let mut samples = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = sample(line).ok_or(Malformed::Line(number))?;
        if wanted(&sample.name) {
            if samples.len() == MAX_SERIES {
                return Err(Malformed::TooMany);
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|letter: char| !is_name(letter)).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    if name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next()?)?;
    // A time in milliseconds may follow; nothing else may.
    if let Some(time) = words.next() {
        time.parse::<i64>().ok()?;
    }
    words.next().is_none().then(|| Sample { name: name.to_owned(), labels, value })
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// `name="value",…}` and what is left behind the brace.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let end = rest.find(|letter: char| !is_name(letter)).filter(|end| *end > 0)?;
        let (name, after) = rest.split_at(end);
        let after = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
        let (value, after) = quoted(after)?;
        if labels.len() == MAX_LABELS || labels.insert(name.to_owned(), value).is_some() {
            return None;
        }
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// Up to the closing quote; `\\`, `\"` and `\n` are escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other @ ('\\' | '"') => other,
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

/// A number as Go writes it: `+Inf`, `-Inf`, `NaN` and what Rust reads as well.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    /// The example page of the format's own description.
    const PAGE: &str = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045
rpc_duration_seconds{quantile="0.01",} 3102
"#;

    #[test]
    fn the_example_of_the_format_is_read() {
        let samples = parse(PAGE, |_| true).unwrap();
        assert_eq!(samples.len(), 6);
        assert_eq!(samples[1].labels["code"], "400");
        assert_eq!(samples[1].value, 3.0);
        assert_eq!(samples[2].labels["error"], "Cannot find file:\n\"FILE.TXT\"");
        assert_eq!(samples[4].value, f64::INFINITY);
        assert_eq!(parse(PAGE, |name| name.starts_with("http")).unwrap().len(), 2);
    }

    #[test]
    fn a_broken_line_is_named() {
        let broken = [
            "a",
            "a{",
            "a{b} 1",
            "a{b=\"c} 1",
            "a{b=\"c\\x\"} 1",
            "a{b=\"1\",b=\"2\"} 1",
            "a 1 2 3",
            "a one",
            "1a 1",
            "{b=\"c\"} 1",
            "a{b=\"c\"d=\"e\"} 1",
        ];
        for line in broken {
            let page = format!("fine 1\n{line}\n");
            assert_eq!(parse(&page, |_| true), Err(Malformed::Line(2)), "{line}");
        }
    }

    #[test]
    fn too_many_series_are_refused() {
        let page: String = (0..=MAX_SERIES).map(|nth| format!("a{{n=\"{nth}\"}} 1\n")).collect();
        assert_eq!(parse(&page, |_| true), Err(Malformed::TooMany));
        assert!(parse(&page, |_| false).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text, |_| true);
        }

        #[test]
        fn any_label_is_read_back(value in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // A carriage return would end the line for us as for others; values have none.
            if !value.contains('\r') {
                let samples = parse(&format!("a{{b=\"{escaped}\"}} 1"), |_| true).unwrap();
                assert_eq!(samples[0].labels["b"], value);
            }
        }
    }
}
