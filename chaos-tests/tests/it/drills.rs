//! Drills as an operator runs them: `holdfast drill NAME --yes` against a live demo, and what the
//! kept reports say afterwards, whichever node is asked.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::{Demo, Options, programs};
use chaos_tests::drill;
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// The command line of an operator at any node.
struct Operator {
    token: PathBuf,
    urls: String,
}

impl Operator {
    fn new(demo: &Demo, scratch: &Path) -> anyhow::Result<Self> {
        let token = scratch.join("token");
        std::fs::write(&token, demo.http.token())?;
        let urls: Vec<&str> = demo.nodes.iter().map(|(_, url)| url.as_str()).collect();
        Ok(Self { token, urls: urls.join(",") })
    }

    /// Whether it ended with 0, and what it printed.
    fn says(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = Command::new(programs()?.join("holdfast"))
            .arg("drill")
            .args(words)
            .args(["--url", &self.urls, "--token-file"])
            .arg(&self.token)
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }
}

/// Runs a drill to its verdict and reads the report at every node.
async fn run(demo: &Demo, operator: &Operator, words: &[&str]) -> anyhow::Result<Value> {
    let words = [words, &["--yes", "--reason", "story"]].concat();
    let (mut passed, mut said) = operator.says(&words)?;
    println!("{said}");
    for _ in 0..2 {
        // A machine that stands still for seconds ends a drill, as it should, and is no news.
        if passed || !said.contains("given up:") {
            break;
        }
        demo.wait_equal(PATIENCE).await?;
        (passed, said) = operator.says(&words)?;
        println!("{said}");
    }
    anyhow::ensure!(passed && said.contains("verdict: PASSED"), "{words:?}: {said}");
    let (_, listed) = operator.says(&["list", "--json"])?;
    let listed: Value = serde_json::from_str(&listed).context(listed)?;
    let newest = &listed["items"][0];
    anyhow::ensure!(newest["scenario"] == words[0] && newest["verdict"] == "passed", "{newest}");
    let id = newest["id"].as_u64().context("id")?;
    demo.wait_equal(PATIENCE).await?;
    let mut reports = Vec::new();
    for (name, url) in &demo.nodes {
        let kept = demo.http.get(&format!("{url}/api/v1/drills/{id}")).await?;
        anyhow::ensure!(kept["seal_holds"] == true, "{name}: {kept}");
        reports.push(kept["report"].clone());
    }
    anyhow::ensure!(reports.iter().all(|report| *report == reports[0]), "reports differ");
    let report = reports.swap_remove(0);
    anyhow::ensure!(report["kept"]["acknowledged"].as_u64() > Some(50), "{}", report["kept"]);
    for none in ["lost", "doubled", "stale_reads"] {
        anyhow::ensure!(report["kept"][none] == 0, "{none}: {}", report["kept"]);
    }
    Ok(report)
}

async fn status_of(demo: &Demo, path: &str, body: Value) -> anyhow::Result<(u16, String)> {
    let url = format!("{}/api/v1/drills{path}", demo.nodes[0].1);
    let answer = demo.http.send(Method::POST, &url, Some(&body), None, PATIENCE).await?;
    Ok((answer.status, answer.json()?["code"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drills_are_run_judged_and_kept() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let demo = Demo::start(Options {
        dir: scratch.path().join("demo"),
        port: 19_680,
        concentrators: 2,
        meters: 5,
        seconds: 900,
        more: Vec::new(),
    })
    .await?;
    let operator = Operator::new(&demo, scratch.path())?;
    demo.wait_standbys(PATIENCE).await?;

    // Without --yes nothing happens, and a rail that says no stops it with --yes, too.
    let (good, said) = operator.says(&["graceful-hand-over"])?;
    anyhow::ensure!(good && said.contains("Nothing was done"), "{said}");
    let (good, said) = operator.says(&["leader-kill", "--yes"])?;
    anyhow::ensure!(!good && said.contains("drill_unsafe") && said.contains("--backup"), "{said}");
    let (status, code) = status_of(&demo, "", json!({"scenario": "site-lost"})).await?;
    anyhow::ensure!((status, code.as_str()) == (404, "unknown_scenario"), "{status} {code}");
    let (_, listed) = operator.says(&["list", "--json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    anyhow::ensure!(listed["items"].as_array().is_some_and(Vec::is_empty), "{listed}");

    let report = run(&demo, &operator, &["graceful-hand-over"]).await?;
    let identity = &report["identity"];
    anyhow::ensure!(identity["leader_before"] != identity["leader_after"], "{identity}");

    let leader = demo.wait_leader(PATIENCE).await?;
    let pid = demo.pid(&leader)?;
    let report = run(&demo, &operator, &["leader-kill", "--backup", "none"]).await?;
    anyhow::ensure!(report["identity"]["target"] == leader.as_str(), "{report}");
    anyhow::ensure!(demo.pid(&leader)? != pid, "{leader} was not killed");

    let report = run(&demo, &operator, &["certificate-renewal"]).await?;
    let identity = &report["identity"];
    anyhow::ensure!(identity["leader_before"] == identity["leader_after"], "{identity}");

    demo.wait_standbys(PATIENCE).await?;
    let report = run(&demo, &operator, &["channel-cut"]).await?;
    let channel = report["recovery"].as_array().context("recovery")?;
    let channel = channel.iter().find(|one| one["kind"] == "channel").context("channel")?;
    anyhow::ensure!(channel["measured_ms"].as_u64() > Some(0), "{channel}");

    // A backup is taken, damaged nowhere, restored where nobody lives, and is the same state.
    let place = scratch.path().join("backups");
    let place = place.to_str().context("path")?;
    let words = ["backup", "--to", place, "--url", &operator.urls, "--token-file"];
    let backup =
        Command::new(programs()?.join("holdfast")).args(words).arg(&operator.token).output()?;
    anyhow::ensure!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    let folder = scratch.path().join("restored");
    std::fs::create_dir(&folder)?;
    let restore = ["restore-from-backup", "--from", place, "--scratch"];
    let restore = [&restore[..], &[folder.to_str().context("path")?, "--yes"]].concat();
    let (passed, said) = operator.says(&restore)?;
    anyhow::ensure!(passed && said.contains("verdict: PASSED"), "{said}");
    anyhow::ensure!(!said.contains("no longer knows"), "the live hash is compared, too: {said}");
    anyhow::ensure!(std::fs::read_dir(&folder)?.next().is_none(), "the scratch folder stays");

    // What is over takes no more; the page needs nothing besides itself; the metric tells the age.
    let (_, listed) = operator.says(&["list", "--json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let id = listed["items"][0]["id"].as_u64().context("id")?;
    let (status, code) = status_of(&demo, &format!("/{id}/probes"), json!({"number": 1})).await?;
    anyhow::ensure!((status, code.as_str()) == (422, "drill_over"), "{status} {code}");
    let (status, code) = status_of(&demo, &format!("/{id}/injection"), json!({})).await?;
    anyhow::ensure!(status == 422 && code.starts_with("drill_"), "{status} {code}");
    let (good, html) = operator.says(&["report", "--html"])?;
    anyhow::ensure!(good && html.contains("<svg") && html.contains("</html>"), "{html}");
    anyhow::ensure!(!html.contains("src=") && !html.contains("href="), "{html}");
    let second = Duration::from_secs(20);
    let url = format!("{}/metrics", demo.nodes[1].1);
    let metrics = demo.http.send(Method::GET, &url, None, None, second).await?.text;
    let line = "holdfast_drill_last_passed{scenario=\"leader-kill\"} 1";
    anyhow::ensure!(metrics.contains(line), "{line} is missing");

    for (node, verdict) in drill::nothing_lost(&demo).await? {
        anyhow::ensure!(verdict.acknowledged > 0 && verdict.clean(), "{node}: {verdict:?}");
    }
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");
    Ok(())
}
