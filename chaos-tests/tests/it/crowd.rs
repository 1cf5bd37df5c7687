//! A small crowd goes through all phases of the big one: everybody logs in, all go and come back,
//! a node dies.

use crate::alone;
use chaos_tests::crowd::{Options, run};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_served_again_after_everybody_or_a_node_has_gone() -> anyhow::Result<()> {
    let _machine = alone().await;
    let scratch = tempfile::tempdir()?;
    let report = run(Options {
        concentrators: 40,
        meters: 1,
        heartbeat: Duration::from_secs(2),
        limit: Duration::from_secs(120),
        port: 18_480,
        dir: scratch.path().to_owned(),
    })
    .await?;
    println!("{report:?}");
    for phase in [report.first, report.again, report.killed] {
        anyhow::ensure!(phase.half <= phase.most && phase.most <= phase.all, "{phase:?}");
    }
    // Standbys take over without a login.
    for phase in [report.first, report.again] {
        anyhow::ensure!(phase.logins_a_second > 0.0, "{phase:?}");
    }
    Ok(())
}
