//! Results for people: tables and pairs. With `--json` the API's own answer is printed instead.

use serde_json::Value;

/// Prints a table with aligned columns.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|text| text.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// Prints an object as pairs; nested values as JSON, nulls not at all.
pub fn pairs(value: &Value) {
    let Some(object) = value.as_object() else { return };
    let width = object.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        println!("{key:width$}  {}", text(value));
    }
}

/// A value without quotes; a dash for null.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_string(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_string(),
        Value::Bool(false) => "no".to_string(),
        other => other.to_string(),
    }
}

/// A field of an object as text.
pub fn field(value: &Value, path: &[&str]) -> String {
    let mut at = value;
    for name in path {
        at = at.get(name).unwrap_or(&Value::Null);
    }
    text(at)
}
