//! A node's disk fills up while the cluster works: the others go on and nothing is lost. When the
//! space runs low the node steps back and recovers by itself; when a write fails in its middle,
//! because there was no warning, it says why and stops.

use crate::alone;
use chaos_tests::nodes::Nodes;
use chaos_tests::probe::Probe;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_one_node_and_no_write() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), 18_380)?;
    // No mark and no reserve: the disk is full without a warning.
    let small = [
        ("HOLDFAST_STORAGE__WAL_SEGMENT_BYTES", "65536"),
        ("HOLDFAST_STORAGE__LOW_WATER_BYTES", "0"),
        ("HOLDFAST_STORAGE__RESERVE_BYTES", "0"),
    ];
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
async fn a_leader_short_of_room_steps_back_serves_reads_and_recovers() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), 18_580)?;
    let marks = [
        ("HOLDFAST_STORAGE__WAL_SEGMENT_BYTES", "65536"),
        ("HOLDFAST_STORAGE__LOW_WATER_BYTES", "4194304"),
        ("HOLDFAST_STORAGE__RESERVE_BYTES", "2097152"),
    ];
    nodes.start(0, &marks)?;
    nodes.start(1, &marks)?;
    nodes.start_on_small_disk(2, "24m", &marks)?;
    for node in 0..3 {
        nodes.wait_ready(node, PATIENCE).await?;
    }
    let probe = Probe::new(&nodes.http, 1);
    probe.until_accepted(&nodes.urls, "before", PATIENCE).await?;
    let lead = serde_json::json!({"to": "n3"});
    let url = format!("{}/api/v1/cluster/leader", nodes.urls[0]);
    let asked = nodes
        .http
        .send(hyper::Method::POST, &url, Some(&lead), None, Duration::from_secs(10))
        .await?;
    anyhow::ensure!(asked.status == 202, "{} {}", asked.status, asked.text);
    nodes.crowd_small_disk(2, 3 << 20)?;
    let others = nodes.urls[..2].to_vec();
    probe.until_accepted(&others, "during", PATIENCE).await?;
    let cluster = format!("{}/api/v1/cluster", nodes.urls[2]);
    let mut body = serde_json::Value::Null;
    for _ in 0..2_000 {
        body = nodes.http.get(&cluster).await?;
        if body["disk_full"] == true && body["role"] != "leader" && body["leader"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(body["disk_full"] == true && body["role"] != "leader", "{body}");
    // Reads are served meanwhile, and the others take every write.
    let list = format!("{}/api/v1/concentrators", nodes.urls[2]);
    anyhow::ensure!(nodes.http.get(&list).await?["items"].is_array(), "no reads");
    for write in 0..50 {
        probe.until_accepted(&others, &format!("full-{write}"), PATIENCE).await?;
    }
    nodes.free_small_disk(2)?;
    nodes.wait_ready(2, PATIENCE).await?;
    let leader = nodes.http.get(&format!("{}/api/v1/cluster", nodes.urls[0])).await?;
    let index = leader["applied_index"].as_u64().unwrap_or(u64::MAX);
    for _ in 0..2_000 {
        body = nodes.http.get(&cluster).await?;
        if body["applied_index"].as_u64() >= Some(index) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(body["applied_index"].as_u64() >= Some(index), "not caught up: {body}");
    anyhow::ensure!(!nodes.log(2).contains("panicked"), "{}", nodes.log(2));
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
