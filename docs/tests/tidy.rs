//! The rules of the house that a compiler does not check. Each test names the files that break one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use docs::manifest::Manifest;
use docs::text::{before_tests, code, links, literals, quoted};
use docs::{CRATES, File, crate_of, files, root, sources_of};

/// The longest line, in letters.
const MAX_LINE: usize = 100;

/// The most lines of a file before its tests.
const MAX_LINES: usize = 500;

/// Files that are longer, with their lines. This list may only shrink: a file that grows fails,
/// and one that shrank must be given its new length, or leave the list.
const LONG_FILES: &[(&str, usize)] = &[];

/// Files with longer lines, and how many. May only shrink, as above.
const LONG_LINES: &[(&str, usize)] = &[];

/// Which rooms a room may build on. What is not here is forbidden.
const FLOORS: [(&str, &[&str]); 11] = [
    ("cosem", &[]),
    ("domain", &[]),
    ("storage", &[]),
    ("simulator", &["cosem"]),
    ("gateway", &["cosem", "domain"]),
    ("cluster", &["domain", "storage"]),
    ("monitor", &[]),
    ("search", &[]),
    ("node", &["cluster", "domain", "gateway", "monitor", "search", "storage"]),
    ("chaos-tests", &["cluster", "cosem", "domain", "node", "simulator", "storage"]),
    ("docs", &[]),
];

/// What a room's tests may use beyond that.
const TEST_FLOORS: [(&str, &[&str]); 2] =
    [("gateway", &["simulator"]), ("chaos-tests", &["gateway"])];

/// Libraries, and the only places that may name them.
const FENCES: [(&str, &[&str]); 12] = [
    ("openraft", &["cluster/src/raft/"]),
    ("quinn", &["cluster/src/transport/"]),
    ("sled", &["storage/src/tables/on_sled.rs"]),
    ("fjall", &["storage/src/tables/on_fjall.rs"]),
    ("object_store", &["storage/src/archive/remote.rs"]),
    ("parquet", &["storage/src/segment/"]),
    ("axum", &["node/src/http/", "node/src/areas/", "node/monitor/src/http/"]),
    ("askama", &["node/src/areas/", "node/src/http/"]),
    ("lettre", &["node/monitor/src/mail.rs", "node/monitor/src/config/check.rs"]),
    ("unicode_normalization", &["node/search/src/text.rs"]),
    (
        "minijinja",
        &[
            "node/monitor/src/texts.rs",
            "node/monitor/src/config/check.rs",
            "node/monitor/src/http/desk.rs",
        ],
    ),
    ("jiff", &["node/", "gateway/simulator/", "chaos-tests/"]),
];

/// What the pure rooms may not name: runtimes, IO, clocks, random, the environment.
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "std::io",
    "Instant::now",
    "SystemTime",
    "tokio",
    "getrandom",
    "rand",
    "tracing",
];

/// What only the domain may not name besides: numbers and maps that differ between replicas.
const NONDETERMINISTIC: [&str; 5] = ["f32", "f64", "HashMap", "HashSet", "Instant"];

fn is_test(path: &str) -> bool {
    ["/tests/", "/benches/", "/fuzz/", "/tests.rs"].iter().any(|part| path.contains(part))
}

fn hold(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Whether code names a word, not as a part of another.
fn names(code: &str, word: &str) -> bool {
    let inner = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(inner) && !code[at + word.len()..].starts_with(inner))
}

#[test]
fn rooms_build_on_lower_floors_only() {
    let mut broken = Vec::new();
    for (folder, package) in CRATES {
        let manifest = Manifest::of(folder);
        let allowed = |floors: &[(&str, &'static [&'static str])]| {
            floors.iter().find(|(room, _)| *room == package).map_or(&[][..], |(_, rooms)| *rooms)
        };
        let floor = allowed(&FLOORS);
        for room in Manifest::rooms(&manifest.dependencies) {
            if !floor.contains(&room) {
                broken.push(format!("{package} depends on {room}"));
            }
        }
        for room in Manifest::rooms(&manifest.dev_dependencies) {
            if !floor.contains(&room) && !allowed(&TEST_FLOORS).contains(&room) {
                broken.push(format!("the tests of {package} depend on {room}"));
            }
        }
        broken.extend(manifest.versions.iter().map(|line| format!("{package}: {line}")));
    }
    hold(broken, "a room depends on what is not below it, or names a version of its own");
}

#[test]
fn libraries_stay_behind_their_fences() {
    let mut broken = Vec::new();
    for file in files(".rs").iter().filter(|file| !is_test(&file.path)) {
        let code = code(before_tests(&file.text));
        for (library, places) in FENCES {
            let used = [format!("{library}::"), format!("use {library};")];
            let named = used.iter().any(|used| {
                code.match_indices(used.as_str()).any(|(at, _)| {
                    let inner = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
                    !code[..at].ends_with(inner)
                })
            });
            if named && !places.iter().any(|place| file.path.starts_with(place)) {
                broken.push(format!("{} names {library}", file.path));
            }
        }
    }
    hold(broken, "a library is named outside of its place");
}

#[test]
fn pure_rooms_are_pure() {
    let mut broken = Vec::new();
    for folder in ["cluster/domain", "gateway/cosem"] {
        for file in sources_of(folder).iter().filter(|file| !is_test(&file.path)) {
            let code = code(before_tests(&file.text));
            let domain = folder == "cluster/domain";
            let more = if domain { &NONDETERMINISTIC[..] } else { &[] };
            for word in IMPURE.iter().chain(more).filter(|word| names(&code, word)) {
                broken.push(format!("{} names {word}", file.path));
            }
        }
    }
    hold(broken, "a pure room reaches for the world");
}

#[test]
fn files_are_short() {
    let lines = |file: &File| before_tests(&file.text).lines().count();
    let broken = ratchet(LONG_FILES, |file| {
        (!is_test(&file.path) && lines(file) > MAX_LINES).then(|| lines(file))
    });
    hold(broken, "files of more than 500 lines before their tests, or a list that must shrink");
}

#[test]
fn lines_are_short() {
    let broken = ratchet(LONG_LINES, |file| {
        let long = file.text.lines().filter(|line| line.chars().count() > MAX_LINE).count();
        (long > 0).then_some(long)
    });
    hold(broken, "files with lines of more than 100 letters, or a list that must shrink");
}

/// Files whose measure is over and not listed, or listed with another number.
fn ratchet(listed: &[(&str, usize)], measure: impl Fn(&File) -> Option<usize>) -> Vec<String> {
    let mut listed: BTreeMap<&str, usize> = listed.iter().copied().collect();
    let mut broken = Vec::new();
    for file in files(".rs") {
        let (now, was) = (measure(&file), listed.remove(file.path.as_str()));
        if now != was {
            broken.push(format!("{}: {now:?} now, {was:?} on the list", file.path));
        }
    }
    broken.extend(listed.keys().map(|path| format!("{path} is on the list, not in the tree")));
    broken
}

#[test]
fn every_module_says_what_it_is() {
    let files = files(".rs");
    let silent = files.iter().filter(|file| !file.text.starts_with("//!"));
    hold(silent.map(|file| file.path.clone()).collect(), "modules without a first line `//!`");
}

#[test]
fn nothing_is_left_undone_or_hushed_up() {
    let words = [["dbg", "!("], ["todo", "!("], ["unimplemented", "!("]].map(|word| word.concat());
    let hushed = [["#[", "allow("], ["#![", "allow("], ["#[", "expect("], ["#[", "ignore"]]
        .map(|word| word.concat());
    let mut broken = Vec::new();
    for file in files(".rs") {
        let code = code(&file.text);
        for word in words.iter().chain(&hushed).filter(|word| code.contains(word.as_str())) {
            broken.push(format!("{}: {word}", file.path));
        }
        // Globs of our own parent module are how tests see it.
        let globs = code.lines().filter(|line| line.trim_start().starts_with("use "));
        for line in globs.filter(|line| line.contains("::*;") && !line.contains("super::*")) {
            broken.push(format!("{}: {}", file.path, line.trim()));
        }
    }
    hold(broken, "left undone, switched off, or imported by glob");
}

#[test]
fn every_refusal_is_documented() {
    let mut codes = BTreeMap::new();
    for file in files(".rs").iter().filter(|file| !is_test(&file.path)) {
        for literal in literals(before_tests(&file.text)) {
            if is_refusal(&literal.before) {
                codes.insert(literal.text, file.path.clone());
            }
        }
    }
    assert!(codes.len() > 40, "only {} codes found: the search is broken", codes.len());
    let page = document("docs/reference/refusals.md");
    let documented = first_column(&page);
    let missing = codes.iter().filter(|(code, _)| !documented.contains(code.as_str()));
    hold(
        missing.map(|(code, path)| format!("{code} ({path})")).collect(),
        "refusals that docs/reference/refusals.md lacks",
    );
    let sources: String = files(".rs").iter().map(|file| before_tests(&file.text)).collect();
    let stale = documented.iter().filter(|code| !sources.contains(&format!("\"{code}\"")));
    hold(stale.map(|code| (*code).to_owned()).collect(), "documented codes that nothing gives");
}

fn is_refusal(before: &str) -> bool {
    let plain = ["refuse(", "Refusal::new(", "Problem::bad(", "Problem::missing("];
    let status = before
        .rsplit_once("Problem::new(StatusCode::")
        .and_then(|(_, rest)| rest.strip_suffix(','))
        .is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
    status || plain.iter().any(|plain| before.ends_with(plain))
}

/// The words in backticks that a page's table rows begin with.
fn first_column(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(word, _)| word).collect()
}

/// Sections of OWASP ASVS 5.0.0, each with how many of its lines are of levels 1 and 2; those of
/// level 3 stand behind them.
const ASVS: &str = "1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 \
    3.5:5 3.7:2 4.1:3 4.2:1 4.3:2 4.4:4 5.1:1 5.2:3 5.3:2 5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 \
    6.6:3 6.8:4 7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2 8.1:2 8.2:3 8.3:1 8.4:1 9.1:3 9.2:4 10.1:2 \
    10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3 11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3 \
    12.2:2 12.3:4 13.1:1 13.2:5 13.3:2 13.4:5 14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 \
    16.2:5 16.3:4 16.4:3 16.5:3 17.1:1 17.2:4 17.3:2";

#[test]
fn every_line_of_the_asvs_has_its_test_or_its_reason() {
    let lines = ASVS.split_whitespace().filter_map(|section| section.split_once(':'));
    let all: BTreeSet<String> = lines
        .flat_map(|(section, many)| {
            let many: u32 = many.parse().expect("a number");
            (1..=many).map(move |line| format!("V{section}.{line}"))
        })
        .collect();
    let page = document("docs/reference/asvs.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| V"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let answered = rows.iter().flat_map(|row| row[0].split(", "));
    let mut once = BTreeSet::new();
    let twice: Vec<String> =
        answered.filter(|line| !once.insert((*line).to_owned())).map(str::to_owned).collect();
    hold(twice, "lines that are answered twice");
    let wrong = all.symmetric_difference(&once).cloned().collect();
    hold(wrong, "lines that docs/reference/asvs.md leaves out, or that are none of level 1 or 2");
    let sources: String = files(".rs").into_iter().map(|file| file.text).collect();
    let mut broken = Vec::new();
    for row in &rows {
        let words: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        let is_test = |word: &&&str| word.matches('_').count() > 1 && !word.contains(['.', ' ']);
        let tests: Vec<_> =
            words.iter().filter(is_test).filter(|w| !w.starts_with("holdfast_")).collect();
        for test in &tests {
            let found = ["\nfn ", "\n    fn ", "\nasync fn ", "\n        fn "]
                .iter()
                .any(|before| sources.contains(&format!("{before}{test}(")));
            if !found {
                broken.push(format!("{}: there is no test {test}", row[0]));
            }
        }
        if row[3].is_empty() {
            broken.push(format!("{}: neither a test nor a reason", row[0]));
        }
    }
    hold(broken, "docs/reference/asvs.md names tests that are none, or says nothing");
}

#[test]
fn every_configuration_key_is_documented() {
    let keys = document("node/src/config/keys.rs");
    let keys = literals(before_tests(&keys));
    let pairs = keys
        .windows(2)
        .filter(|pair| pair[0].before.ends_with("key(") && pair[1].before.ends_with("key(\"\","));
    let keys: Vec<(String, String)> =
        pairs.map(|pair| (pair[0].text.clone(), pair[1].text.clone())).collect();
    assert!(keys.len() > 20, "only {} keys found: the search is broken", keys.len());
    let page = document("docs/reference/configuration.md");
    let sections: BTreeMap<&str, &str> = page
        .split("\n## ")
        .skip(1)
        .map(|part| part.split_once('\n').unwrap_or((part, "")))
        .map(|(title, body)| (title.trim_matches(|c| "`[] ".contains(c)), body))
        .collect();
    let missing = keys.iter().filter(|(section, name)| {
        let body = sections.get(section.as_str()).copied().unwrap_or_default();
        !quoted(body).contains(&name.as_str())
    });
    hold(
        missing.map(|(section, name)| format!("{section}.{name}")).collect(),
        "keys that docs/reference/configuration.md lacks in their section",
    );
}

#[test]
fn every_metric_is_documented() {
    let mut found = BTreeMap::new();
    for file in files("metrics.rs").iter().filter(|file| !is_test(&file.path)) {
        let Some((_, package)) =
            crate_of(&file.path).and_then(|own| CRATES.iter().find(|(folder, _)| *folder == own))
        else {
            continue;
        };
        let prefix = match *package {
            "node" => "holdfast_".to_owned(),
            package => format!("holdfast_{package}_"),
        };
        for literal in literals(before_tests(&file.text)).iter().filter(|found| is_metric(found)) {
            let name = match literal.text.strip_prefix("holdfast_") {
                Some(_) => literal.text.clone(),
                None => format!("{prefix}{}", literal.text),
            };
            found.insert(name, file.path.clone());
        }
    }
    assert!(found.len() > 40, "only {} metrics found: the search is broken", found.len());
    let page = document("docs/reference/metrics.md");
    let documented = first_column(&page);
    let missing = found.iter().filter(|(name, _)| !documented.contains(name.as_str()));
    hold(
        missing.map(|(name, path)| format!("{name} ({path})")).collect(),
        "metrics that docs/reference/metrics.md lacks",
    );
    let ours = documented.iter().filter(|name| name.starts_with("holdfast_"));
    let stale = ours.filter(|name| !found.contains_key(**name));
    hold(stale.map(|name| (*name).to_owned()).collect(), "documented metrics that nothing gives");
}

/// A name that is handed to something which makes a metric.
fn is_metric(literal: &docs::text::Literal) -> bool {
    let makers = [
        "gauge(",
        "gauges(",
        "counter(",
        "counters(",
        "float(",
        "floats(",
        "histogram(",
        "histograms(",
        "opts(",
        "HistogramOpts::new(",
    ];
    let before = literal.before.strip_suffix("registry,").unwrap_or(&literal.before);
    let letters = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    !literal.text.is_empty()
        && literal.text.chars().all(letters)
        && makers.iter().any(|maker| before.ends_with(maker))
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files(".md") {
        for link in links(&file.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            if !resolves(&file, &link) {
                broken.push(format!("{}: {link}", file.path));
            }
        }
    }
    hold(broken, "links that lead nowhere");
}

fn resolves(file: &File, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(p, a)| (p, Some(a)));
    let here = root().join(&file.path);
    let target = match path {
        "" => here,
        path => here.parent().map_or_else(root, |folder| folder.join(path)),
    };
    let Some(anchor) = anchor else { return target.exists() };
    let text = fs::read_to_string(&target).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor_of(line) == anchor)
}

/// The anchor that a heading is given.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_area_has_its_scripts() {
    let entry = document("cluster/domain/src/apply/entry.rs");
    let variants = entry.split("pub enum Change {").nth(1).unwrap_or_default();
    let variants = variants.split('}').next().unwrap_or_default();
    let areas: Vec<String> = variants
        .lines()
        .filter_map(|line| line.trim().split_once('('))
        .map(|(name, _)| name.to_lowercase())
        .collect();
    assert!(areas.len() >= 5, "only {areas:?} found: the search is broken");
    let scripts = files(".txt");
    let silent = areas.iter().filter(|area| {
        let folder = format!("cluster/domain/tests/scripts/{area}/");
        !scripts.iter().any(|script| script.path.starts_with(&folder))
    });
    hold(silent.cloned().collect(), "areas without a golden script");
}

#[test]
fn the_top_level_is_what_it_should_be() {
    let wanted: BTreeSet<&str> = "Cargo.toml Cargo.lock node cluster storage gateway chaos-tests \
         deploy docs README.md CHANGELOG.md CONTRIBUTING.md LICENSE rust-toolchain.toml \
         rustfmt.toml clippy.toml .ci .gitignore"
        .split_whitespace()
        .collect();
    let mut broken: Vec<String> = wanted
        .iter()
        .filter(|name| !root().join(name).exists())
        .map(|name| format!("{name} is missing"))
        .collect();
    // What the build and version control leave behind is not of the tree.
    let ignored = document(".gitignore");
    let ignored: BTreeSet<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != ".git" && !wanted.contains(&*name) && !ignored.contains(&*name) {
            broken.push(format!("{name} does not belong"));
        }
    }
    hold(broken, "the top level");
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}
