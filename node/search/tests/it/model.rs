//! Any course of changes, fills and queries, against an oracle that compares everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use search::{Doc, Hit, Index, Query, normalise};

/// Everything, compared one by one.
#[derive(Default)]
struct Oracle {
    docs: BTreeMap<Vec<u8>, Doc>,
}

impl Oracle {
    fn search(&self, text: &str, regions: Option<&BTreeSet<u32>>, classes: u32) -> Vec<Hit> {
        let text = normalise(text);
        let words: Vec<&str> = text.split(' ').collect();
        let mut hits = Vec::new();
        for doc in self.docs.values() {
            let permitted = regions.is_none_or(|regions| regions.contains(&doc.region))
                && classes >> doc.class & 1 == 1;
            let normal = normalise(&doc.text);
            let score = if !words.iter().all(|word| normal.contains(word)) {
                continue;
            } else if words.iter().all(|word| normal.split(' ').any(|own| own == *word)) {
                0
            } else if words.iter().all(|word| normal.split(' ').any(|own| own.starts_with(word))) {
                1
            } else {
                2
            };
            if permitted {
                let Doc { key, region, class, .. } = doc.clone();
                hits.push(Hit { key, score, region, class });
            }
        }
        hits.sort_by(|one, other| (one.score, &one.key).cmp(&(other.score, &other.key)));
        hits
    }
}

#[derive(Clone, Debug)]
enum Act {
    Upsert(Doc),
    Remove(Vec<u8>),
    Maintain,
    /// A fill with these documents, while which these changes are made.
    Fill(Vec<Doc>, Vec<Act>),
    /// A fill that is given up, or overtaken by another one.
    Abandon(Vec<Doc>),
    Ask(Asked),
}

#[derive(Clone, Debug)]
struct Asked {
    text: String,
    regions: Option<BTreeSet<u32>>,
    classes: u32,
    limit: usize,
}

fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-c]{1,5}",
        "[а-вёЁ]{1,5}",
        "[王伟北京]{1,3}",
        "[0-2]{1,6}",
        "a{1,6}b?",
        "[aаñ王𠀀1]{1,4}",
    ];
    vec((word, select(vec![" ", "-", ", ", "/"])), 0..5)
        .prop_map(|words| words.into_iter().map(|(word, sign)| word + sign).collect())
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..120).prop_map(|key| format!("{key:b}").into_bytes())
}

fn docs() -> impl Strategy<Value = Doc> {
    (keys(), texts(), 0_u32..4, 0_u8..3).prop_map(|(key, text, region, class)| Doc {
        key,
        text,
        region,
        class,
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let regions = prop_oneof![Just(None), btree_set(0_u32..5, 0..3).prop_map(Some)];
    let text = prop_oneof![
        "[a-c]{2,3}",
        "[а-в]{2,3}",
        "[王伟北京]{2}",
        "[0-2]{2,4}",
        "[ab][ab] [01]{1,2}",
        "[王伟] [ab1]",
        "[王伟]",
        "a{3,6}",
        texts(),
    ];
    (text, regions, 0_u32..8, 1_usize..8).prop_map(|(text, regions, classes, limit)| Asked {
        text,
        regions,
        classes,
        limit,
    })
}

fn changes() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => docs().prop_map(Act::Upsert),
        2 => keys().prop_map(Act::Remove),
        2 => Just(Act::Maintain),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        60 => changes(),
        1 => (vec(docs(), 0..150), vec(changes(), 0..60))
            .prop_map(|(docs, acts)| Act::Fill(docs, acts)),
        1 => vec(docs(), 0..20).prop_map(Act::Abandon),
        20 => asked().prop_map(Act::Ask),
    ]
}

/// In the order of keys, of each key the last.
fn in_order(docs: &[Doc]) -> BTreeMap<Vec<u8>, Doc> {
    docs.iter().map(|doc| (doc.key.clone(), doc.clone())).collect()
}

fn act(index: &Index, oracle: &mut Oracle, act: &Act) -> Result<(), TestCaseError> {
    match act {
        Act::Upsert(doc) => {
            index.upsert(doc);
            oracle.docs.insert(doc.key.clone(), doc.clone());
        }
        Act::Remove(key) => {
            prop_assert_eq!(index.remove(key), oracle.docs.remove(key).is_some());
        }
        Act::Maintain => {
            index.maintain();
        }
        Act::Fill(docs, changes) => {
            let docs = in_order(docs);
            let mut fill = index.fill();
            let mut changes = changes.iter();
            // What is changed while the fill goes on holds, whatever the fill says of it.
            let mut touched = BTreeSet::new();
            for doc in docs.values() {
                fill.push(doc).expect("the keys ascend");
                let Some(change) = changes.next() else { continue };
                match change {
                    Act::Upsert(doc) => touched.insert(doc.key.clone()),
                    Act::Remove(key) => touched.insert(key.clone()),
                    _ => false,
                };
                self::act(index, oracle, change)?;
            }
            fill.finish().expect("no other fill was begun");
            oracle.docs.retain(|key, _| touched.contains(key));
            let untouched = docs.into_iter().filter(|(key, _)| !touched.contains(key));
            oracle.docs.extend(untouched);
        }
        Act::Abandon(docs) => {
            let mut first = index.fill();
            for doc in in_order(docs).values() {
                first.push(doc).expect("the keys ascend");
            }
            drop(index.fill());
            first.finish().expect_err("another fill was begun");
        }
        Act::Ask(asked) => compare(index, oracle, asked)?,
    }
    Ok(())
}

fn compare(index: &Index, oracle: &Oracle, asked: &Asked) -> Result<(), TestCaseError> {
    let Asked { text, regions, classes, limit } = asked;
    let (mut after, mut found) = (None, Vec::new());
    let expected = oracle.search(text, regions.as_ref(), *classes);
    loop {
        let query = Query {
            text,
            regions: regions.as_ref(),
            classes: *classes,
            after: after.as_ref(),
            limit: *limit,
        };
        let Ok(page) = index.search(&query) else {
            prop_assert!(found.is_empty() && is_short(text), "refused: {}", text);
            return Ok(());
        };
        prop_assert_eq!((page.matched, page.capped), (expected.len() as u64, false));
        found.extend(page.hits);
        let Some(next) = page.next else { break };
        prop_assert_eq!(found.len() % limit, 0);
        after = Some(next);
    }
    prop_assert_eq!(found, expected);
    Ok(())
}

/// Whether no two letters stand side by side, nor one of a large alphabet anywhere.
fn is_short(text: &str) -> bool {
    let small = |word: &str| word.chars().count() < 2 && word.len() < 3;
    normalise(text).split(' ').all(small)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_all_is_found_that_is_there(
        acts in vec(acts(), 1..250),
        recent in 1_usize..12,
        last in vec(asked(), 10),
        own in any::<u8>(),
    ) {
        let index = Index::with_recent(recent);
        let mut oracle = Oracle::default();
        for step in &acts {
            act(&index, &mut oracle, step)?;
        }
        // One that surely finds something: two letters of a document.
        let chosen = oracle.docs.values().nth(usize::from(own) % oracle.docs.len().max(1));
        let text: String = chosen.map_or("", |doc| &doc.text).chars().take(3).collect();
        let sure = Asked { text, regions: None, classes: 7, limit: 3 };
        for asked in last.iter().chain([&sure]) {
            compare(&index, &oracle, asked)?;
        }
        while index.maintain() {}
        prop_assert_eq!(index.due(), false);
        for asked in last.iter().chain([&sure]) {
            compare(&index, &oracle, asked)?;
        }
        prop_assert_eq!(index.stats().docs, oracle.docs.len());
    }
}
