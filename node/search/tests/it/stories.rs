//! What people look for, and what they may find.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use search::{ALL_CLASSES, Doc, Index, MAX_MATCHED, OutOfOrder, Page, Query};

fn doc(key: &str, text: &str, region: u32, class: u8) -> Doc {
    Doc { key: key.into(), text: text.to_owned(), region, class }
}

fn query(text: &str) -> Query<'_> {
    Query { text, regions: None, classes: ALL_CLASSES, after: None, limit: 50 }
}

fn keys(page: &Page) -> Vec<String> {
    page.hits.iter().map(|hit| String::from_utf8_lossy(&hit.key).into_owned()).collect()
}

fn town() -> Index {
    let docs = [
        doc("c1", "40071 Ёлкин Пётр Ильич, ул. Ленина 5-12, 79211234567", 1, 0),
        doc("c2", "40072 O'Brien Anna-Maria, 12 Mill Street, 441632960001", 2, 0),
        doc("c3", "40073 王伟 北京市朝阳区建国路88号 861069445500", 3, 0),
        doc("c4", "140071 Петров Лен, пр. Мира 40", 1, 0),
        doc("m1", "40071 A77-0042", 1, 1),
        doc("m2", "99 A77-40071", 2, 1),
    ];
    Index::load(docs).expect("the keys ascend")
}

#[test]
fn a_customer_is_found_by_any_part_of_what_is_known() {
    let index = town();
    let table: [(&str, &[&str]); 16] = [
        ("40071", &["c1", "m1", "m2", "c4"]),
        ("елкин", &["c1"]),
        ("ЁЛК", &["c1"]),
        ("петр ёлк", &["c1"]),
        ("лен", &["c4", "c1"]),
        ("ен", &["c1", "c4"]),
        ("brien", &["c2"]),
        ("o'brien", &["c2"]),
        ("anna maria", &["c2"]),
        ("+7 921 123-45", &["c1"]),
        ("王伟", &["c3"]),
        ("朝阳", &["c3"]),
        ("王 88", &["c3"]),
        ("a77", &["m1", "m2"]),
        ("77-0042", &["m1"]),
        ("nobody", &[]),
    ];
    for (text, expected) in table {
        let page = index.search(&query(text)).expect("it is long enough");
        assert_eq!(keys(&page), expected, "{text}");
        assert_eq!((page.matched, page.capped), (expected.len() as u64, false), "{text}");
    }
}

#[test]
fn nobody_sees_or_counts_another_region() {
    let index = Index::with_recent(40);
    for number in 0..1000_u32 {
        index.upsert(&doc(&format!("{number:04}"), "Ivanov", number % 10, 0));
        index.maintain();
    }
    let table: [(&[u32], u64); 4] = [(&[], 0), (&[3], 100), (&[3, 4], 200), (&[77], 0)];
    for (regions, count) in table {
        let regions: BTreeSet<u32> = regions.iter().copied().collect();
        let scoped = Query { regions: Some(&regions), limit: 500, ..query("ivan") };
        let page = index.search(&scoped).expect("it is long enough");
        assert_eq!((page.matched, page.hits.len() as u64), (count, count));
        assert!(page.hits.iter().all(|hit| regions.contains(&hit.region)));
    }
    let all = Query { classes: 0b10, ..query("ivan") };
    assert_eq!(index.search(&all).map(|page| page.matched), Ok(0));
}

#[test]
fn a_customer_who_moves_is_found_where_he_lives_now() {
    let index = town();
    index.upsert(&doc("c1", "40071 Ёлкин, Mill Street 7", 2, 0));
    let north = [1].into();
    let page = index.search(&Query { regions: Some(&north), ..query("елкин") });
    assert_eq!(page.map(|page| page.matched), Ok(0));
    let page = index.search(&query("mill")).expect("it is long enough");
    assert_eq!(keys(&page), ["c1", "c2"]);
    assert!(index.remove(b"c1") && !index.remove(b"c1") && !index.remove(b"c99"));
    let page = index.search(&query("mill")).expect("it is long enough");
    assert_eq!(keys(&page), ["c2"]);
    assert_eq!((index.stats().docs, index.stats().dead), (5, 1));
}

#[test]
fn what_does_not_change_costs_nothing() {
    let index = town();
    index.upsert(&doc("c2", "40072 o brien ANNA MARIA, 12 Mill-Street, 441632960001", 2, 0));
    assert_eq!((index.stats().recent, index.stats().dead), (0, 0));
    index.upsert(&doc("c2", "40072 O'Brien", 2, 0));
    index.upsert(&doc("c2", "40072 o'brien", 2, 0));
    assert_eq!((index.stats().recent, index.stats().dead), (1, 1));
}

#[test]
fn every_page_is_reached_and_counts_have_an_end() {
    let count = MAX_MATCHED as usize + 700;
    let name = |number: usize| match number % 3 {
        0 => "ab",
        1 => "abc",
        _ => "cab",
    };
    let docs = (0..count).map(|number| doc(&format!("{number:06}"), name(number), 0, 0));
    let index = Index::load(docs).expect("the keys ascend");
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let asked = Query { after: after.as_ref(), limit: 499, ..query("ab") };
        let page = index.search(&asked).expect("it is long enough");
        assert_eq!((page.matched, page.capped), (MAX_MATCHED, true));
        found.extend(page.hits.iter().map(|hit| (hit.score, hit.key.clone())));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(found.len(), count);
    assert!(found.is_sorted_by(|one, other| one < other), "ordered, and none twice");
    // As many as the end of counting are counted out.
    for number in MAX_MATCHED as usize..count {
        index.remove(format!("{number:06}").as_bytes());
    }
    let page = index.search(&query("ab")).expect("it is long enough");
    assert_eq!((page.matched, page.capped), (MAX_MATCHED, false));
}

#[test]
fn counting_ends_where_it_takes_too_long_and_pages_do_not() {
    // Every block has all the grams of the name, and one in a hundred the name.
    let name = |number: usize| match number % 800 {
        0 => "xabcdex",
        _ => "xabcdx xbcdex",
    };
    let count = 700_000;
    let docs = (0..count).map(|number| doc(&format!("{number:06}"), name(number), 0, 0));
    let index = Index::load(docs).expect("the keys ascend");
    let (mut after, mut found) = (None, 0);
    loop {
        let asked = Query { after: after.as_ref(), limit: 300, ..query("abcde") };
        let page = index.search(&asked).expect("it is long enough");
        found += page.hits.len();
        let Some(next) = page.next else {
            assert!(found == count / 800 && page.matched > 0, "{found} found");
            break;
        };
        assert!(page.capped && page.matched > 300 && page.matched < 400, "{}", page.matched);
        after = Some(next);
    }
}

#[test]
fn a_fill_wants_ascending_keys() {
    let index = town();
    let mut fill = index.fill();
    fill.push(&doc("a", "one", 0, 0)).expect("it is the first");
    assert_eq!(fill.push(&doc("a", "two", 0, 0)), Err(OutOfOrder { position: 1 }));
    drop(fill);
    assert_eq!(index.stats().docs, 6, "a fill that is given up changes nothing");
    assert!(Index::load([doc("b", "", 0, 0), doc("a", "", 0, 0)]).is_err());
}

#[test]
fn whoever_searches_sees_one_moment() {
    // Each of these is always there, in one version or the other, whatever is being built.
    let index = Index::with_recent(16);
    let name =
        |version: usize| if version.is_multiple_of(2) { "ivanov even" } else { "ivanov odd" };
    let put = |number: usize, version| {
        index.upsert(&doc(&format!("{number:03}"), name(version), 0, 0));
    };
    (0..100).for_each(|number| put(number, 0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..60 {
                (0..100).for_each(|number| put(number, version));
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                index.maintain();
            }
        });
        let mut searches = 0;
        while !done.load(Ordering::SeqCst) || searches == 0 {
            let page = index.search(&query("ivan")).expect("it is long enough");
            assert_eq!(page.matched, 100);
            searches += 1;
        }
    });
    while index.maintain() {}
    let page = index.search(&Query { limit: 500, ..query("odd") }).expect("it is long enough");
    assert_eq!(page.matched, 100);
    assert_eq!(index.stats().docs, 100);
}
