//! CSV files of concentrators and meters.
//!
//! Invariants: the first line names the columns and an unknown one is refused; empty cells are
//! left out; a fault names its line; cells that hold keys never appear in a fault.

use std::path::Path;

use serde_json::{Map, Value};

use crate::exit::Failure;

/// Columns of a file of concentrators.
pub const CONCENTRATOR: &[&str] = &["id", "system_title", "name", "guek", "gak"];
/// Columns of a file of meters.
pub const METER: &[&str] = &[
    "serial",
    "concentrator",
    "address",
    "client_sap",
    "server_sap",
    "auth",
    "suite",
    "policy",
    "wrapping",
    "dedicated_key",
    "client_title",
    "secret",
    "guek",
    "gak",
    "kek",
    "signing_key",
    "meter_signing_key",
    "agreement_key",
    "meter_agreement_key",
    "system_title",
    "model",
];

/// Reads a file into one object a line; `columns[0]` must be filled.
pub fn read(path: &Path, columns: &[&str]) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::file("cannot read", path, &error))?;
    parse(&text, columns)
        .map_err(|fault| Failure::failed("bad_csv", format!("{}: {fault}", path.display())))
}

fn parse(text: &str, columns: &[&str]) -> Result<Vec<Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, head) = lines.next().ok_or("the file is empty")?;
    let head = cells(head).ok_or("line 1: a quote is not closed")?;
    for name in &head {
        if !columns.contains(&name.as_str()) {
            let known = columns.join(", ");
            return Err(format!("line 1: no such column {name:?}; known are {known}"));
        }
    }
    let first = columns.first().copied().unwrap_or_default();
    let mut items = Vec::new();
    for (position, line) in lines {
        let number = position + 1;
        let cells = cells(line).ok_or(format!("line {number}: a quote is not closed"))?;
        if cells.len() != head.len() {
            let text = format!("line {number}: {} cells, expected {}", cells.len(), head.len());
            return Err(text);
        }
        let item = object(&head, cells, number)?;
        if !item.contains_key(first) {
            return Err(format!("line {number}: {first} is empty"));
        }
        items.push(Value::Object(item));
    }
    Ok(items)
}

fn object(
    head: &[String],
    cells: Vec<String>,
    number: usize,
) -> Result<Map<String, Value>, String> {
    let mut item = Map::new();
    for (name, cell) in head.iter().zip(cells) {
        if cell.is_empty() {
            continue;
        }
        let value = match name.as_str() {
            "client_sap" | "server_sap" | "suite" => {
                let is_none = |_| format!("line {number}: {name} {cell:?} is no number to 65535");
                Value::from(cell.parse::<u16>().map_err(is_none)?)
            }
            "dedicated_key" => {
                let is_none = |_| format!("line {number}: {name} {cell:?} is not true or false");
                Value::from(cell.parse::<bool>().map_err(is_none)?)
            }
            _ => Value::from(cell),
        };
        item.insert(name.clone(), value);
    }
    Ok(item)
}

/// Cells of one line (RFC 4180 without line breaks in cells); `None`: a quote is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let cell = cells.last_mut()?;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    (!quoted).then(|| cells.into_iter().map(|cell| cell.trim().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_objects() {
        let text = "serial,concentrator,client_sap,model\nM1,C1,,\"a \"\"b\"\", c\"\n\nM2,,16,x\n";
        let items = parse(text, METER).expect("a good file");
        assert_eq!(
            items,
            [
                serde_json::json!({"serial": "M1", "concentrator": "C1", "model": "a \"b\", c"}),
                serde_json::json!({"serial": "M2", "client_sap": 16, "model": "x"}),
            ]
        );
    }

    #[test]
    fn faults_name_their_line_and_no_key() {
        for (text, part) in [
            ("", "empty"),
            ("serial,colour\nM1,red", "colour"),
            ("serial,guek\nM1", "line 2: 1 cells"),
            ("serial,guek\n,00112233", "line 2: serial is empty"),
            ("serial,client_sap\nM1,many", "line 2"),
            ("serial,model\nM1,\"x", "line 2: a quote"),
        ] {
            let fault = parse(text, METER).expect_err(text);
            assert!(fault.contains(part), "{fault}");
            assert!(!fault.contains("00112233"));
        }
    }
}
