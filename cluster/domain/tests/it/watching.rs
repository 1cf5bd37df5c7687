//! Bounds of what monitoring servers read: a storm of events, and marks without end.

use crate::clerk::Clerk;

/// Meters of a town without power.
const METERS: usize = 10_000;

#[test]
fn ten_thousand_power_downs_stand_in_the_feed_each_once() {
    let mut clerk = Clerk::new();
    clerk.hear("concentrator name=C1 title=1 at=1000000");
    for nth in 0..METERS {
        let said = clerk.hear(&format!("meter serial=M{nth} behind=C1"));
        assert!(said[0].starts_with("ok"), "{said:?}");
    }
    let row = |nth: usize| format!("{nth}@{}:1", 999_990 + nth % 10);
    let rows: Vec<String> = (0..METERS).map(row).collect();
    // In parts of a thousand, as ten concentrators would, and all of it a second time.
    for _ in 0..2 {
        for part in rows.chunks(1_000) {
            let rows = part.join(",");
            let said = clerk.hear(&format!("ingest interval=0 obis=0-0:96.11.0 rows={rows}"));
            assert_eq!(said[0], "ok Ingested([Ok(1000)])");
        }
    }
    let shown = clerk.hear("show alarms limit=20000");
    assert_eq!(shown[0], format!("behind 0 to {METERS}"));
    assert_eq!(shown.len(), METERS + 1);
    let places = shown.iter().skip(1).map(|line| line.split(':').next().unwrap().to_owned());
    assert!(places.eq((1..=METERS).map(|place| place.to_string())));
    assert_eq!(clerk.hear("show alarms past=9999").len(), 2, "a page goes on behind its place");
}

#[test]
fn of_marks_the_oldest_go() {
    let mut clerk = Clerk::new();
    for nth in 0..21 {
        let said = clerk.hear(&format!("told many=1000 from={} by=olga", nth * 1_000));
        assert_eq!(said, ["ok Noted"]);
    }
    let shown = clerk.hear("show told limit=30000");
    assert_eq!(shown.len(), 20_000);
    assert!(shown[0].starts_with("1001: "), "{}", shown[0]);
}

#[test]
fn of_a_concentrators_reports_the_oldest_go() {
    let mut clerk = Clerk::new();
    clerk.hear("concentrator name=C1 title=1 at=1000000");
    clerk.hear("renew node=1 by=node:1");
    clerk.hear("claim device=c:C1 node=1 by=node:1");
    for nth in 0..8 {
        let when = 900_000 + nth * 1_000;
        let said = clerk.hear(&format!("report of=C1 code=7 many=200 when={when} by=node:1"));
        assert_eq!(said, ["ok Noted"]);
    }
    let shown = clerk.hear("show reports of=C1 limit=5000");
    assert!((1_000..=1_100).contains(&shown.len()), "{}", shown.len());
    assert!(shown[0].contains(" at 907199 "), "the newest first: {}", shown[0]);
    assert_eq!(clerk.hear("show alarms past=1599 limit=9").len(), 2, "the feed has all of them");
}
