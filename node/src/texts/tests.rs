//! The catalogues against each other, against the templates, and against the lists of codes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::operators::Role;

use super::{Language, Part, catalogue, parts};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder with an ending, with its text.
fn files(folder: &Path, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|its| its == ending) {
            let text = std::fs::read_to_string(&path).expect("a text");
            found.push((path.display().to_string(), text));
        }
    }
    found
}

fn templates() -> Vec<(String, String)> {
    let found = files(&root().join("templates"), "html");
    assert!(found.len() > 15, "the templates are found");
    found
}

fn keys(language: Language) -> BTreeSet<&'static str> {
    catalogue::all(language).keys().map(String::as_str).collect()
}

/// What stands behind each `before` up to the next quote.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[test]
fn every_language_has_every_text_with_the_same_places() {
    let places = |text: &'static str| {
        let name = |part: Part<'static>| match part {
            Part::Place(name) => Some(name),
            Part::Plain(_) => None,
        };
        parts(text).into_iter().filter_map(name).collect::<BTreeSet<_>>()
    };
    let english = catalogue::all(Language::English);
    assert!(english.len() > 400, "the catalogue is read");
    for other in Language::ALL {
        assert_eq!(keys(Language::English), keys(other), "{other:?}");
        for (key, text) in english {
            let its = catalogue::find(other, key).expect("as seen above");
            assert_eq!(places(text), places(its), "{other:?} {key}");
            assert_eq!(text.matches('`').count(), its.matches('`').count(), "{other:?} {key}");
            assert_eq!(its.matches('`').count() % 2, 0, "{other:?} {key}");
            assert_eq!(its.trim(), its, "{other:?} {key}");
        }
    }
}

/// A text that was forgotten stands in Latin letters among Cyrillic or Chinese ones.
#[test]
fn russian_and_chinese_are_written_in_their_letters() {
    let cyrillic = |letter: char| ('\u{400}'..='\u{4ff}').contains(&letter) || letter == '№';
    let han = |letter: char| ('\u{4e00}'..='\u{9fff}').contains(&letter);
    for (key, text) in catalogue::all(Language::Russian) {
        assert!(text.chars().any(cyrillic), "{key}: {text}");
    }
    // A number between places and code alone has no letters of its own.
    let bare = ["drill.octets_in"];
    for (key, text) in catalogue::all(Language::Chinese) {
        assert!(text.chars().any(han) || bare.contains(&key.as_str()), "{key}: {text}");
    }
}

#[test]
fn every_text_is_used_and_every_one_used_is_there() {
    let known = keys(Language::English);
    // Codes may have dots of their own: a list's name ends at the second one.
    let list = |key: &&'static str| key.strip_prefix("code.")?.split('.').next();
    let lists: BTreeSet<&str> = known.iter().filter_map(list).collect();
    let mut used = BTreeSet::new();
    let mut sources = templates();
    sources.extend(files(&root().join("src"), "rs"));
    sources.retain(|(path, _)| !path.contains("texts/tests.rs"));
    for (path, text) in &sources {
        for key in quoted(text, "say(\"") {
            assert!(known.contains(key), "{path}: no text {key}");
        }
        for list in quoted(text, "t.coded(\"").chain(quoted(text, "t.word(\"")) {
            assert!(lists.contains(list), "{path}: no list {list}");
        }
        used.extend(text.split('"').filter_map(|literal| known.get(literal)));
    }
    let unused: Vec<_> = known.difference(&used).filter(|key| !key.starts_with("code.")).collect();
    assert!(unused.is_empty(), "texts that nothing shows: {unused:?}");
}

/// What a template itself says between its tags and its expressions, and in attributes for people.
fn bare_words(template: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = template;
    // Expressions go first: quotes and tags inside of them are not the page's.
    while let Some(begin) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let (before, behind) = rest.split_at(begin);
        let end = if behind.starts_with("{{") { "}}" } else { "%}" };
        let close = behind.find(end).expect("an expression ends");
        text.push_str(before);
        text.push('\u{1}');
        rest = &behind[close + 2..];
    }
    text.push_str(rest);
    let mut said = Vec::new();
    for attribute in ["aria-label=\"", "title=\"", "alt=\"", "placeholder=\""] {
        said.extend(quoted(&text, attribute).map(str::to_owned));
    }
    for piece in text.split('<') {
        said.push(piece.split_once('>').map_or(piece, |(_, outside)| outside).to_owned());
    }
    // The product, its interface, a hash, percentiles, a count, and an SI unit have one name.
    let names = ["Holdfast", "API", "BLAKE3", "p90", "p99", "n", "ms", "MiB", "s"];
    let words = said.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let bare = words.filter(|word| word.chars().any(char::is_alphabetic) && !names.contains(word));
    bare.map(str::to_owned).collect()
}

#[test]
fn no_template_says_anything_in_one_language() {
    for (path, text) in templates() {
        assert_eq!(bare_words(&text), Vec::<String>::new(), "{path}");
    }
    assert_eq!(bare_words("<p title=\"Old\">{{ t.say(\"x\") }} is <b>new</b></p>").len(), 3);
}

#[test]
fn every_code_of_a_list_has_its_words() {
    let has = |list: &str, code: &str| {
        let key = format!("code.{list}.{code}");
        assert!(catalogue::find(Language::English, &key).is_some(), "no words of {key}");
    };
    Role::ALL.iter().for_each(|role| has("role", role.name()));
    domain::registry::State::ALL.iter().for_each(|state| has("item_state", state.name()));
    crate::drills::scenario::SCENARIOS.iter().for_each(|one| has("scenario", one.name));
    for state in ["queued", "sent", "acknowledged", "verified", "failed", "expired", "cancelled"] {
        has("command_state", state);
    }
    let refusals = root().join("../docs/reference/refusals.md");
    let refusals = std::fs::read_to_string(refusals).expect("the list of refusals");
    let codes = refusals.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert!(codes.map(|code| has("refusal", code)).count() > 200);
    for reason in ["login", "promoted", "owner_lost", "ordered", "returned"] {
        has("channel_reason", reason);
    }
}

#[test]
fn parameters_mean_the_same_on_every_page() {
    for one in domain::parameters::DEFINITIONS {
        assert_eq!(Language::English.word("parameter", one.name), one.about);
        assert_eq!(Language::English.word("unit", one.unit), one.unit);
        for language in Language::ALL {
            for key in [format!("parameter.{}", one.name), format!("unit.{}", one.unit)] {
                let found = catalogue::find(language, &format!("code.{key}"));
                assert!(found.is_some(), "no words of {key} in {}", language.code());
            }
        }
    }
}

#[test]
fn texts_are_filled_and_escaped() {
    let text = Language::English.say("home.term").with("term", 7).with("node", "<n1>");
    assert_eq!(text.to_string(), "term 7, seen by <n1>");
    assert_eq!(text.marked(), "term 7, seen by &#60;n1&#62;");
    let marked = Language::Russian.say("operators.none_yet").marked();
    assert!(marked.contains("<code>holdfast operator add</code>"), "{marked}");
    // What was not filled is seen as such; what is not known is shown as it is.
    assert_eq!(Language::English.say("base.stale").to_string().matches('–').count(), 1);
    // A script of the page fills it.
    assert!(Language::Chinese.say("base.stale").open().contains("{time}"));
    assert_eq!(Language::Chinese.say("no.such.key").to_string(), "no.such.key");
    assert_eq!(Language::Spanish.word("role", "no_such"), "no_such");
    let coded = Language::Spanish.coded("command_state", "queued");
    assert_eq!(coded, "en cola <code>queued</code>");
    assert_eq!(Language::English.coded("role", "metering_engineer"), "metering engineer");
    assert_eq!(Language::Russian.decimal("1234.5"), "1234,5");
    assert_eq!(Language::Chinese.decimal("1234.5"), "1234.5");
}

#[test]
fn browsers_are_asked_for_their_language() {
    for (header, expect) in [
        ("es", Some(Language::Spanish)),
        ("zh-CN,zh;q=0.9,en;q=0.8", Some(Language::Chinese)),
        ("de,ru;q=0.5,en;q=0.4", Some(Language::Russian)),
        ("de-DE,de;q=0.9", None),
        ("en;q=0,es;q=0.001", Some(Language::Spanish)),
        ("es;q=x, ru ;q= 0.3", Some(Language::Russian)),
        ("", None),
        (";;;,,,q=", None),
    ] {
        assert_eq!(Language::accepted(header), expect, "{header}");
    }
    assert_eq!(Language::of("zh-Hans"), Some(Language::Chinese));
    assert_eq!(Language::of("english"), None);
}
