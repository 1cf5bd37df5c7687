//! The catalogues: one TOML file for each language, tables of keys with their texts, embedded.
//!
//! Invariant: each is read once; one that does not parse is told in the log and counts as empty (a
//! test reads them all, so none such is shipped).

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Language;

type Catalogue = HashMap<String, String>;

static ALL: LazyLock<[Catalogue; 4]> = LazyLock::new(|| Language::ALL.map(|one| read(file(one))));

fn file(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("../../texts/en.toml"),
        Language::Spanish => include_str!("../../texts/es.toml"),
        Language::Russian => include_str!("../../texts/ru.toml"),
        Language::Chinese => include_str!("../../texts/zh.toml"),
    }
}

/// The text of a key such as `home.title`.
pub(super) fn find(language: Language, key: &str) -> Option<&'static str> {
    all(language).get(key).map(String::as_str)
}

/// Every key with its text.
pub(super) fn all(language: Language) -> &'static Catalogue {
    let [english, spanish, russian, chinese] = &*ALL;
    match language {
        Language::English => english,
        Language::Spanish => spanish,
        Language::Russian => russian,
        Language::Chinese => chinese,
    }
}

fn read(text: &str) -> Catalogue {
    let mut out = Catalogue::new();
    match toml::from_str::<toml::Table>(text) {
        Ok(table) => flatten("", table, &mut out),
        // The pages then show keys; the tests tell which line is wrong.
        Err(error) => tracing::error!(%error, "a catalogue of texts cannot be read"),
    }
    out
}

fn flatten(above: &str, table: toml::Table, out: &mut Catalogue) {
    for (key, value) in table {
        let key = if above.is_empty() { key } else { format!("{above}.{key}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, out),
            toml::Value::String(text) => drop(out.insert(key, text)),
            other => tracing::error!(key, %other, "a text is no text"),
        }
    }
}
