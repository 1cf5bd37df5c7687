//! Lists of conflicts, held against what queries tell of every meter, page by page, on a made-up
//! load over days in every state.

use super::many_tests::{A, B, DAY_S, Dice, FIRST, WAIT, fill, history, open, seal, spans};
use super::{Conflict, MonthKey, RECIPE_MONTH, Row, Search, Segments, Spot, month_of};

const ALL: Search =
    Search { interval_minutes: None, ordinal: None, column: None, span: (0, i64::MAX) };

/// All pages of a list.
fn listed(segments: &Segments, search: &Search, limit: usize) -> Vec<Conflict> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = segments.conflicts(search, after, limit).unwrap();
        assert!(page.len() <= limit);
        found.extend(page);
        match next {
            Some(_) => assert!(next > after, "the pages go on"),
            None => return found,
        }
        after = next;
    }
}

/// The same from the queries about each meter.
fn reckoned(segments: &Segments, search: &Search) -> Vec<Conflict> {
    let mut found = Vec::new();
    for interval_minutes in [0, 60] {
        let meters = (0..130).chain([700, 8191, 8192, 8200]);
        for ordinal in meters.filter(|one| search.ordinal.is_none_or(|wanted| wanted == *one)) {
            for column in [A, B] {
                let (from_s, to_s) = search.span;
                let points = segments.query(interval_minutes, ordinal, column, from_s, to_s);
                for points in points.unwrap().chunk_by(|one, next| one.end_s == next.end_s) {
                    let end_s = points[0].end_s;
                    let spot = Spot { interval_minutes, ordinal, end_s, column };
                    let wanted = points.len() > 1
                        && search.interval_minutes.is_none_or(|one| one == interval_minutes)
                        && search.column.is_none_or(|one| one == column);
                    if wanted {
                        found.push(Conflict { spot, points: points.to_vec() });
                    }
                }
            }
        }
    }
    found.sort_by_key(|conflict| conflict.spot);
    found
}

/// An irregular value; the meter's own register A.
fn irregular(segments: &Segments, index: u64, ordinal: u32, end_s: i64, value: i64) {
    let row = Row { ordinal, end_s, flag: 1, values: &[Some(value)] };
    segments.merge(index, 0, &[A], &[row]).unwrap();
}

#[test]
fn every_conflict_is_listed_once_wherever_its_values_lie() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(&dir.path().join("data"));
    history(&segments, 11);
    // Irregular ones: in one open day, and across a file and an open day.
    let at_s = i64::from(FIRST) * DAY_S + 3;
    for (index, value) in [(900, 5), (901, 6), (902, 6)] {
        irregular(&segments, index, 9, at_s, value);
    }
    let agrees = |what: &str| {
        let expect = reckoned(&segments, &ALL);
        assert!(expect.len() > 20, "the load has conflicts");
        for limit in [5, 5000] {
            let found = listed(&segments, &ALL, limit);
            assert!(found == expect, "{what}, pages of {limit}");
        }
        for span in spans().into_iter().skip(2) {
            let (one, column) = (Some(8191), Some(A));
            for (interval_minutes, ordinal, column) in [
                (None, None, None),
                (Some(60), one, None),
                (None, one, column),
                (Some(0), None, None),
            ] {
                let search = Search { interval_minutes, ordinal, column, span };
                assert!(
                    listed(&segments, &search, 3) == reckoned(&segments, &search),
                    "{search:?}"
                );
            }
        }
        expect.len()
    };
    let before = agrees("as it came");
    for (index, day) in [(910, FIRST), (911, FIRST + 33)] {
        let key = super::DayKey { interval_minutes: 0, shard: 0, day };
        assert!(segments.seal(index, key, super::RECIPE_DAY).unwrap());
    }
    irregular(&segments, 912, 9, at_s, 7);
    segments.settle(WAIT).unwrap();
    assert_eq!(agrees("irregular ones in a file"), before);
    // Late rows of the folded month go in; then it lies in an archive.
    let month = MonthKey { interval_minutes: 60, shard: 0, month: month_of(FIRST) };
    assert!(segments.compact(920, month, RECIPE_MONTH).unwrap());
    segments.settle(WAIT).unwrap();
    assert_eq!(agrees("folded again"), before);
    let archive = dir.path().join("archive");
    segments.set_archive(archive.to_str().unwrap(), 1 << 20).unwrap();
    let entry = segments.archive(month, 920).unwrap();
    segments.cool(&[entry]).unwrap();
    assert_eq!(agrees("from the archive"), before);
}

/// A concentrator sends a day again that was sealed: nothing new, and nothing to list. The look
/// at so many meters is cut into pages.
#[test]
fn a_day_that_comes_again_lists_nothing_in_bounded_pages() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    let bring = |index, wrong: Option<u32>| {
        for meter in 0..1200 {
            let value = i64::from(meter) + i64::from(wrong == Some(meter));
            let end_s = i64::from(FIRST) * DAY_S + 3600;
            let row = Row { ordinal: meter, end_s, flag: 0, values: &[Some(value)] };
            segments.merge(index, 60, &[A], &[row]).unwrap();
        }
    };
    bring(1, None);
    assert!(segments.seal(2, key(), super::RECIPE_DAY).unwrap());
    segments.settle(WAIT).unwrap();
    bring(3, Some(1150));
    let (page, next) = segments.conflicts(&ALL, None, 10).unwrap();
    assert_eq!(page, [], "a thousand meters were looked at");
    assert!(next.is_some_and(|spot| spot.ordinal < 1150));
    let found = listed(&segments, &ALL, 10);
    let values: Vec<_> = found[0].points.iter().map(|one| (one.value, one.beside)).collect();
    assert_eq!((found.len(), found[0].spot.ordinal), (1, 1150));
    assert_eq!(values, [(1150, false), (1151, true)]);
}

fn key() -> super::DayKey {
    super::DayKey { interval_minutes: 60, shard: 0, day: FIRST }
}

#[test]
fn a_damaged_file_is_told_and_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let segments = open(dir.path());
    fill(&segments, &mut Dice(1), 1, FIRST);
    fill(&segments, &mut Dice(2), 2, FIRST);
    seal(&segments, 3, FIRST);
    segments.settle(WAIT).unwrap();
    let entry = segments.entries().remove(0);
    let path = dir.path().join(entry.name());
    let mut octets = std::fs::read(&path).unwrap();
    octets[300] ^= 1;
    std::fs::write(&path, octets).unwrap();
    assert_eq!(segments.conflicts(&ALL, None, 10).unwrap_err().code(), "segment_damaged");
}
