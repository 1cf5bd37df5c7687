//! What finding people takes: memory, time to build, time to answer, beside comparing everything.
//!
//! `cargo run --release -p search --example town -- --docs 1000000 [--seed S]
//! [--queries N]`, N of each alphabet and length. Prints a table for
//! `docs/reference/search.md`. Every query that is also answered by comparing everything must
//! have the same count, or the run ends with an error. Times are CPU times of the one thread that
//! asks, so that others who work on the machine disturb little; each query is asked thrice, the
//! best counts, and what the first one took stands beside it.

mod people;

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use memchr::memmem::Finder;
use people::{Dice, doc};
use rustix::time::{ClockId, clock_gettime};
use search::{ALL_CLASSES, Doc, Index, MAX_MATCHED, Query, normalise};

/// How often each is asked.
const TIMES: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let docs = option("--docs").unwrap_or(100_000) as usize;
    let seed = option("--seed").unwrap_or(1);
    let count = option("--queries").unwrap_or(200) as usize;
    let index = build(docs, seed);
    let plain = Plain::of(docs, seed);
    let mut asking = Asking { index: &index, plain: &plain, same: true, best: Vec::new() };
    println!("\n| queries | asked | p50 ms | p99 ms | max ms | p99 at first | everything, ms |");
    println!("|---|---|---|---|---|---|---|");
    for (name, kind) in [("Latin", 0), ("Cyrillic", 1), ("Chinese", 2), ("digits", 3)] {
        for letters in [2..=2, 3..=3, 4..=8] {
            let mut dice = Dice(seed ^ *letters.start() as u64);
            let title = format!("{name}, {} to {} letters", letters.start(), letters.end());
            let queries: Vec<String> = letters
                .flat_map(|letters| vec![letters; count])
                .filter_map(|letters| part(docs, seed, kind, letters, &mut dice))
                .collect();
            asking.measure(&title, &queries, None);
        }
    }
    row("all of these (first and everything not gathered)", &mut asking.best, &mut [], &[]);
    println!("\n| query | | p50 ms | p99 ms | max ms | p99 at first | everything, ms |");
    println!("|---|---|---|---|---|---|---|");
    for (why, queries) in worst() {
        for text in queries {
            let title = format!("{why}: `{text}`");
            asking.measure(&title, &[(*text).to_owned()], None);
        }
    }
    for (why, regions) in [("the smallest region", 199..200), ("a tenth", 0..11)] {
        let regions: BTreeSet<u32> = regions.collect();
        for text in ["ул", "79", "street", "王伟", "иван петр", "8613"] {
            let title = format!("in {why}: `{text}`");
            asking.measure(&title, &[text.to_owned()], Some(&regions));
        }
    }
    deep(&index);
    changes(&index, docs, seed);
    if asking.same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is hard: found everywhere, or nowhere although all of its grams are everywhere.
fn worst() -> [(&'static str, &'static [&'static str]); 7] {
    [
        ("in nearly every document", &["40", "ул", "street", "市", "79", "00", "86", "号"]),
        ("two letters that are rare", &["qx", "zq", "ыъ", "щю", "xq", "ъэ"]),
        (
            "grams everywhere, found nowhere",
            &[
                "ованов",
                "ивановс",
                "streetree",
                "maria s",
                "40044400",
                "市朝号",
                "roadoad",
                "алексеевичн",
            ],
        ),
        ("common words that are parts", &["ова", "ер", "ан", "er", "an", "ar", "ина", "на"]),
        (
            "three words",
            &["ива пет лен", "smith anna mill", "王 北京 路", "anna road 44", "ол ин ул"],
        ),
        ("eight words", &["40 ив ов пе на ул ле 79", "40 ga an fl st no me te"]),
        ("a number typed wrong", &["4003123499x", "4999999999", "79999999999999", "0000000"]),
    ]
}

fn build(docs: usize, seed: u64) -> Index {
    let index = Index::new();
    let before = memory("VmRSS");
    let (mut octets, mut taking) = (0, Duration::ZERO);
    let mut fill = index.fill();
    for first in (0..docs).step_by(1000) {
        let some: Vec<Doc> =
            (first..docs.min(first + 1000)).map(|ordinal| doc(seed, ordinal)).collect();
        octets += some.iter().map(|doc| doc.text.len()).sum::<usize>();
        let start = worked();
        some.iter().for_each(|doc| fill.push(doc).expect("ordinals ascend"));
        taking += worked() - start;
    }
    let start = worked();
    fill.finish().expect("there is one fill");
    let building = worked() - start;
    let stats = index.stats();
    let million = docs as f64 / 1e6;
    let mb = |octets: usize| octets as f64 / 1e6 / million;
    println!("{docs} documents of {:.1} octets (UTF-8), seed {seed}", octets as f64 / docs as f64);
    println!("\n| per million documents | |\n|---|---|");
    let seconds = |time: Duration| time.as_secs_f64() / million;
    println!("| documents taken in, CPU seconds | {:.2} |", seconds(taking));
    println!("| postings built, CPU seconds | {:.2} |", seconds(building));
    println!("| postings, MB | {:.1} |", mb(stats.posting_octets));
    println!("| texts, MB | {:.1} |", mb(stats.text_octets));
    println!("| keys, MB | {:.1} |", mb(stats.key_octets));
    println!("| places and facets, MB | {:.1} |", mb(stats.other_octets));
    let resident = memory("VmRSS").saturating_sub(before);
    println!("| resident memory after the build, MB | {:.1} |", mb(resident));
    println!("| most resident memory during the build, MB | {:.1} |", mb(memory("VmHWM")));
    index
}

/// All normal texts in a row, to compare everything.
struct Plain {
    texts: String,
    ends: Vec<usize>,
    facets: Vec<u32>,
}

impl Plain {
    fn of(docs: usize, seed: u64) -> Self {
        let (mut texts, mut ends, mut facets) = (String::new(), Vec::new(), Vec::new());
        for ordinal in 0..docs {
            let doc = doc(seed, ordinal);
            texts.push_str(&normalise(&doc.text));
            ends.push(texts.len());
            facets.push(doc.region);
        }
        Self { texts, ends, facets }
    }

    fn count(&self, text: &str, regions: Option<&BTreeSet<u32>>) -> u64 {
        let normal = normalise(text);
        let words: Vec<Finder<'_>> = normal.split(' ').map(Finder::new).collect();
        let (mut from, mut count) = (0, 0);
        for (end, region) in self.ends.iter().zip(&self.facets) {
            let text = &self.texts.as_bytes()[from..*end];
            let all = words.iter().all(|word| word.find(text).is_some());
            count += u64::from(all && regions.is_none_or(|regions| regions.contains(region)));
            from = *end;
        }
        count
    }
}

/// Some letters side by side of a document in an alphabet.
fn part(docs: usize, seed: u64, kind: usize, letters: usize, dice: &mut Dice) -> Option<String> {
    for _ in 0..1000 {
        let text = normalise(&doc(seed, dice.below(docs)).text);
        let of_kind = |letter: &char| match kind {
            0 => letter.is_ascii_lowercase(),
            1 => ('а'..='я').contains(letter),
            2 => ('\u{4e00}'..='\u{9fff}').contains(letter),
            _ => letter.is_ascii_digit(),
        };
        let runs: Vec<Vec<char>> = text
            .split(|letter| !of_kind(&letter))
            .map(|run| run.chars().collect::<Vec<char>>())
            .filter(|run| run.len() >= letters)
            .collect();
        let Some(run) = runs.get(dice.below(runs.len())) else { continue };
        let from = dice.below(run.len() - letters + 1);
        return Some(run.iter().skip(from).take(letters).collect());
    }
    None
}

/// Queries that are measured.
struct Asking<'a> {
    index: &'a Index,
    plain: &'a Plain,
    /// Whether all counts were those of comparing everything.
    same: bool,
    /// The best time of every query so far.
    best: Vec<Duration>,
}

impl Asking<'_> {
    /// Asks each query, compares the counts of some with those of comparing everything, prints a
    /// row.
    fn measure(&mut self, name: &str, queries: &[String], regions: Option<&BTreeSet<u32>>) {
        let (mut first, mut best, mut everything) = (Vec::new(), Vec::new(), Vec::new());
        for (at, text) in queries.iter().enumerate() {
            let query = Query { text, regions, classes: ALL_CLASSES, after: None, limit: 50 };
            let mut times = [Duration::MAX; TIMES];
            let mut answer = None;
            for time in &mut times {
                let start = worked();
                answer = self.index.search(&query).ok();
                *time = worked() - start;
            }
            let Some(page) = answer else { continue };
            first.push(times[0]);
            best.extend(times.iter().min());
            if at < 3 {
                let start = worked();
                let exact = self.plain.count(text, regions).min(MAX_MATCHED);
                everything.push(worked() - start);
                let less = page.capped && page.matched < exact;
                if page.matched != exact && !less {
                    println!("`{text}`: {} counted here, {exact} there", page.matched);
                    self.same = false;
                }
            }
        }
        row(name, &mut best, &mut first, &everything);
        self.best.append(&mut best);
    }
}

fn row(name: &str, best: &mut [Duration], first: &mut [Duration], everything: &[Duration]) {
    first.sort();
    best.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    let at = |times: &[Duration], percent: usize| {
        let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, ms)
    };
    let sum: Duration = everything.iter().sum();
    let mean = ms(&sum) / everything.len().max(1) as f64;
    let (p50, p99, max) = (at(best, 50), at(best, 99), at(best, 100));
    let asked = best.len();
    let p99_first = at(first, 99);
    println!("| {name} | {asked} | {p50:.2} | {p99:.2} | {max:.2} | {p99_first:.2} | {mean:.0} |");
}

/// Paging far into what is found everywhere.
fn deep(index: &Index) {
    let (mut after, mut pages, mut hits) = (None, 0, 0);
    let start = worked();
    while pages < 400 {
        let regions = None;
        let classes = ALL_CLASSES;
        let query = Query { text: "00", regions, classes, after: after.as_ref(), limit: 50 };
        let Ok(page) = index.search(&query) else { break };
        pages += 1;
        hits += page.hits.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mean = (worked() - start).as_secs_f64() * 1e3 / f64::from(pages);
    println!("\n{pages} pages, one behind another, of `00`: {hits} hits, mean {mean:.2} ms a page");
}

/// Changes one by one, with the maintenance that they make due.
fn changes(index: &Index, docs: usize, seed: u64) {
    let (mut taking, mut keeping) = (Duration::ZERO, Duration::ZERO);
    let mut dice = Dice(seed);
    let count = 50_000.min(docs);
    for _ in 0..count {
        let doc = doc(!seed, dice.below(docs));
        let start = worked();
        index.upsert(&doc);
        taking += worked() - start;
        let start = worked();
        while index.due() && index.maintain() {}
        keeping += worked() - start;
    }
    let each = taking.as_secs_f64() * 1e6 / count as f64;
    let segments = index.stats().segments;
    println!(
        "{count} changes: {each:.1} us each, and {:.2} s of maintenance; {segments} segments then",
        keeping.as_secs_f64()
    );
}

/// How long this thread has worked.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A figure of this process's memory, in octets.
fn memory(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
