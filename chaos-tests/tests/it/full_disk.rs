//! A node's disk fills up while the cluster works: that node says why and stops, the others go
//! on, nothing is lost.

use crate::alone;
use chaos_tests::nodes::Nodes;
use chaos_tests::probe::Probe;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_node_and_no_write() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), 18_380)?;
    let small = [("HOLDFAST_STORAGE__WAL_SEGMENT_BYTES", "65536")];
    nodes.start(0, &small)?;
    nodes.start(1, &small)?;
    nodes.start_on_small_disk(2, "8m", &small)?;
    for node in 0..3 {
        nodes.wait_ready(node, PATIENCE).await?;
    }
    let (first, second) = (Probe::new(&nodes.http, 1), Probe::new(&nodes.http, 2));
    let urls = nodes.urls[..2].to_vec();
    let filled = nodes.fill_small_disk(2)?;
    println!("{filled} octets were free on the small disk");
    let full = async {
        // Every write must be accepted by the two others, before, while and after the third stops.
        for write in 0..5_000_u32 {
            let key = format!("fill-{write}");
            if !first.write(&urls[(write % 2) as usize], &key, Duration::from_secs(10)).await {
                let again = second.until_accepted(&urls, &key, PATIENCE).await;
                anyhow::ensure!(again.is_ok(), "write {write} was not accepted: {again:?}");
            }
            if nodes.log(2).contains("disk_full") {
                return Ok(write);
            }
        }
        anyhow::bail!("the node never met its full disk:\n{}", nodes.log(2));
    };
    let writes = tokio::time::timeout(Duration::from_secs(120), full).await??;
    println!("the node met its full disk after {writes} writes");
    let code = nodes.wait_end(2, PATIENCE).await?;
    anyhow::ensure!(code == 1, "exit code {code}:\n{}", nodes.log(2));
    anyhow::ensure!(!nodes.log(2).contains("panicked"), "{}", nodes.log(2));
    second.until_accepted(&urls, "after", PATIENCE).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_that_cannot_work_say_why() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), 18_480)?;
    let taken = std::net::TcpListener::bind("127.0.0.1:18480")?;
    nodes.start(0, &[])?;
    let code = nodes.wait_end(0, PATIENCE).await?;
    let log = nodes.log(0);
    anyhow::ensure!(
        code == 1 && log.contains("18480") && log.contains("port_in_use"),
        "{code}: {log}"
    );
    drop(taken);

    nodes.start(0, &[])?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    nodes.start(1, &[("HOLDFAST_NODE__DATA_DIR", "/proc/holdfast")])?;
    let code = nodes.wait_end(1, PATIENCE).await?;
    let log = nodes.log(1);
    anyhow::ensure!(code == 1 && log.contains("/proc/holdfast"), "{code}: {log}");
    anyhow::ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}
