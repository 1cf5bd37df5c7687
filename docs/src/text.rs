//! Rust and Markdown as far as tidiness needs them: code without comments, string literals with
//! what stands before them, links.

/// A string literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The code before it, without white space, at most 80 octets of it.
    pub before: String,
    /// What stands between the quotes, escapes left as they are.
    pub text: String,
}

/// The lines before the tests at the end of a file.
pub fn before_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests").map_or(text, |end| &text[..=end])
}

/// The code of a file: comments and the contents of strings are gone, line ends stay.
pub fn code(text: &str) -> String {
    scan(text).0
}

/// Every string literal of a file that is not in a comment.
pub fn literals(text: &str) -> Vec<Literal> {
    scan(text).1
}

/// The targets of all links of a Markdown text, code blocks left out.
pub fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece stands between backticks and is code.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("` `");
        for (at, _) in plain.match_indices("](") {
            let rest = &plain[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(rest[..end].to_owned());
            }
        }
    }
    found
}

/// The words between single backticks of a Markdown text.
pub fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

fn scan(text: &str) -> (String, Vec<Literal>) {
    let mut code = String::with_capacity(text.len());
    let mut literals = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((content, length)) = string(rest, &code) {
            literals.push(Literal { before: tail(&code), text: content.to_owned() });
            code.push_str("\"\"");
            length
        } else if let Some(length) = character(rest) {
            code.push_str("' '");
            length
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    (code, literals)
}

/// A string that starts here: its content, and its length with the quotes.
fn string<'a>(rest: &'a str, before: &str) -> Option<(&'a str, usize)> {
    let in_word = before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = content.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some((&content[..end], 1 + hashes + 1 + end + 1 + hashes));
    }
    let content = rest.strip_prefix('"')?;
    let mut escaped = false;
    for (at, letter) in content.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((&content[..at], at + 2)),
            _ => {}
        }
    }
    Some((content, rest.len()))
}

/// The length of a character literal that starts here; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let content = rest.strip_prefix('\'')?;
    if content.starts_with('\\') {
        return content[2..].find('\'').map(|end| end + 4);
    }
    let first = content.chars().next()?.len_utf8();
    content[first..].starts_with('\'').then_some(first + 2)
}

fn tail(code: &str) -> String {
    let letters: Vec<char> =
        code.chars().rev().filter(|letter| !letter.is_whitespace()).take(80).collect();
    letters.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_no_comments_and_no_strings() {
        let text = "a(\"b // c\") // d \"e\"\n'\"' r#\"f\"g\"# /* h */ fn i<'j>() '\\'' k";
        assert_eq!(code(text), "a(\"\") \n' ' \"\"  fn i<'j>() ' ' k");
        let found: Vec<String> = literals(text).into_iter().map(|found| found.text).collect();
        assert_eq!(found, ["b // c", "f\"g"]);
        assert_eq!(literals("refuse(\n    \"code\", x)")[0].before, "refuse(");
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let text = "[a](b.md) `[c](d)` [e](f#g)\n```\n[h](i)\n```\n[j](k)";
        assert_eq!(links(text), ["b.md", "f#g", "k"]);
        assert_eq!(quoted("a `b` c `d`\n`e`"), ["b", "d", "e"]);
    }

    #[test]
    fn tests_are_cut_off() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
        assert_eq!(before_tests("a\n"), "a\n");
    }
}
