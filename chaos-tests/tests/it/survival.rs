//! A demo loses its leader, all its nodes, and is started again: nothing acknowledged is lost,
//! nothing is there twice.

use crate::alone;
use chaos_tests::demo::{Demo, Options, logs};
use chaos_tests::drill;
use chaos_tests::journal::{Journal, Verdict};
use std::path::Path;
use std::time::{Duration, Instant};

const ENOUGH_ROWS: usize = 2_000;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.join("demo"),
        port: 18_180,
        concentrators: 4,
        meters: 50,
        seconds: 600,
        more: Vec::new(),
    }
}

/// Waits until the field saw `rows` more rows acknowledged than `before`; returns all rows
/// acknowledged.
async fn collected(demo: &Demo, before: usize, rows: usize) -> anyhow::Result<usize> {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let now = Journal::read(&demo.journal()).map(|journal| journal.rows()).unwrap_or_default();
        if now >= before + rows {
            return Ok(now);
        }
        anyhow::ensure!(Instant::now() < until, "only {now} rows acknowledged, {before} before");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn assert_nothing_lost(demo: &Demo, when: &str) -> anyhow::Result<()> {
    for (node, verdict) in drill::nothing_lost(demo).await? {
        println!("{when}: {node}: {verdict:?}");
        anyhow::ensure!(verdict.acknowledged > 0, "{when}: nothing was compared");
        anyhow::ensure!(verdict.clean(), "{when}: {node} broke the promise: {verdict:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_street_survives_its_cluster() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;

    let demo = Demo::start(options(scratch.path())).await?;
    let rows = collected(&demo, 0, ENOUGH_ROWS).await?;
    let measured = drill::kill_leaders(&demo, 3, |line| println!("{line}")).await?;
    println!("kill -> next accepted write: {}", measured.first_write);
    let rows = collected(&demo, rows, ENOUGH_ROWS).await?;
    assert_nothing_lost(&demo, "leader killed three times").await?;
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");

    let demo = Demo::start(options(scratch.path())).await?;
    assert_nothing_lost(&demo, "second start").await?;
    let rows = collected(&demo, rows, ENOUGH_ROWS).await?;
    demo.kill_all()?;

    let demo = Demo::start(options(scratch.path())).await?;
    assert_nothing_lost(&demo, "all killed at once").await?;
    collected(&demo, rows, ENOUGH_ROWS).await?;
    assert_nothing_lost(&demo, "collection goes on").await?;
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");

    let log = logs(&scratch.path().join("demo"))?;
    anyhow::ensure!(!log.contains("panicked"), "something panicked:\n{log}");
    Ok(())
}

#[tokio::test]
async fn a_checker_that_cannot_fail_is_no_checker() -> anyhow::Result<()> {
    let lost = Verdict { acknowledged: 2, missing: 1, ..Verdict::default() };
    let doubled = Verdict { acknowledged: 2, doubled: 1, ..Verdict::default() };
    let wrong = Verdict { acknowledged: 2, different: 1, ..Verdict::default() };
    anyhow::ensure!([lost, doubled, wrong].iter().all(|verdict| !verdict.clean()));
    Ok(())
}
