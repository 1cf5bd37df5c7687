//! `holdfast acceptance` as a customer runs it, against a demo: every figure stands in the report,
//! reckoned from what was measured; what a demo cannot prove is not called passed.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::{Demo, Options, programs};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// Every line of the specification's chapter 6.
const FIGURES: [&str; 12] = [
    "users",
    "online-days",
    "collection",
    "reading-speed",
    "interface",
    "channel-switch",
    "warm-standby",
    "remote-data",
    "command-reach",
    "request-set",
    "general-query",
    "fuzzy-query",
];
const VERDICTS: [&str; 3] = ["pass", "fail", "not proven here"];

/// Runs it into a folder: the report and the raw evidence.
fn accept(demo: &Demo, folder: &Path, words: &[&str]) -> anyhow::Result<(Value, Value)> {
    std::fs::create_dir_all(folder)?;
    let token = folder.join("token");
    std::fs::write(&token, demo.http.token())?;
    let urls: Vec<&str> = demo.nodes.iter().map(|(_, url)| url.as_str()).collect();
    let output = Command::new(programs()?.join("holdfast"))
        .args(["acceptance", "--quick", "--reason", "story", "--out"])
        .arg(folder)
        .args(words)
        .args(["--url", &urls.join(","), "--token-file"])
        .arg(&token)
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    // A busy machine may miss a limit, and then it says so; anything else is a fault of ours.
    let missed = said.contains("error[acceptance_failed]");
    anyhow::ensure!(output.status.success() || missed, "{said}");
    let read = |name: &str| -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(folder.join(name))?)?)
    };
    Ok((read("report.json")?, read("evidence.json")?))
}

fn figure<'a>(report: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let figures = report["acceptance"]["figures"].as_array().context("figures")?;
    figures.iter().find(|one| one["figure"] == name).with_context(|| format!("{name} is missing"))
}

/// The first distribution of a figure is that of the times in the evidence, reckoned anew.
fn reckoned(report: &Value, evidence: &Value, name: &str) -> anyhow::Result<u64> {
    let told = &figure(report, name)?["distributions"][0];
    let times = evidence["measured"]["times"][name]["took_us"].as_array().context("times")?;
    let mut times: Vec<u64> = times.iter().filter_map(Value::as_u64).collect();
    times.sort_unstable();
    let rank = (times.len() * 99).div_ceil(100).max(1);
    let p99 = times.get(rank - 1).copied().unwrap_or(0);
    anyhow::ensure!(told["n"].as_u64() == u64::try_from(times.len()).ok(), "{name}: {told}");
    anyhow::ensure!(told["p99_us"].as_u64() == Some(p99), "{name}: {p99} in {told}");
    Ok(told["n"].as_u64().unwrap_or(0))
}

async fn drilled(demo: &Demo) -> anyhow::Result<Vec<String>> {
    let list = demo.http.get(&format!("{}/api/v1/drills", demo.nodes[0].1)).await?;
    let items = list["items"].as_array().context("items")?;
    Ok(items.iter().map(|item| item["scenario"].as_str().unwrap_or("?").to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_is_measured_and_told_what_it_cannot_prove() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let demo = Demo::start(Options {
        dir: scratch.path().join("demo"),
        port: 19_800,
        concentrators: 2,
        meters: 10,
        seconds: 900,
        more: Vec::new(),
    })
    .await?;
    demo.wait_standbys(PATIENCE).await?;

    // Nobody is hurt without --yes, and the report says what was left out.
    let (report, _) = accept(&demo, &scratch.path().join("gently"), &[])?;
    for name in ["channel-switch", "warm-standby", "request-set"] {
        let one = figure(&report, name)?;
        anyhow::ensure!(one["verdict"] == "not proven here", "{one}");
        anyhow::ensure!(one["reason"].as_str().is_some_and(|why| why.contains("--yes")), "{one}");
    }
    anyhow::ensure!(drilled(&demo).await? == ["acceptance"], "something was drilled");

    let folder = scratch.path().join("whole");
    let (report, evidence) = accept(&demo, &folder, &["--yes", "--backup", "none"])?;
    let figures = report["acceptance"]["figures"].as_array().context("figures")?;
    let names: Vec<&str> = figures.iter().filter_map(|one| one["figure"].as_str()).collect();
    anyhow::ensure!(names == FIGURES, "{names:?}");
    let mut paper = Command::new("pdftotext");
    let paper = paper.arg("-layout").arg(folder.join("report.pdf")).arg("-");
    let mut paper = paper.output().context("pdftotext (package poppler-utils)")?;
    paper.stdout.retain(|octet| !octet.is_ascii_whitespace());
    let paper = String::from_utf8_lossy(&paper.stdout).into_owned();
    let html = std::fs::read_to_string(folder.join("report.html"))?;
    anyhow::ensure!(!html.contains("src=") && !html.contains("href="), "it needs other files");
    for one in figures {
        for part in ["title", "how", "limit", "result"] {
            let text = one[part].as_str().unwrap_or_default();
            anyhow::ensure!(!text.is_empty(), "{part} is empty: {one}");
            let printed: String = text.split_whitespace().collect();
            anyhow::ensure!(paper.contains(&printed), "{printed} is not on paper");
        }
        let verdict = one["verdict"].as_str().unwrap_or_default();
        anyhow::ensure!(VERDICTS.contains(&verdict), "{one}");
        let why = one["reason"].as_str().unwrap_or_default();
        anyhow::ensure!((verdict == "pass") == why.is_empty(), "{one}");
    }
    for name in ["users", "general-query", "fuzzy-query", "channel-switch", "warm-standby"] {
        let one = figure(&report, name)?;
        anyhow::ensure!(one["verdict"] != "pass", "a demo proves no {name}: {one}");
    }
    for name in ["interface", "remote-data", "command-reach", "request-set", "general-query"] {
        let n = reckoned(&report, &evidence, name)?;
        anyhow::ensure!(n > 50, "{name}: {n} measurements");
    }
    for name in ["channel-switch", "warm-standby"] {
        let lies = &figure(&report, name)?["distributions"][0];
        anyhow::ensure!(lies["n"] == 2, "{name}: {lies}");
        anyhow::ensure!(evidence["measured"]["times"][name].is_null(), "the driver's own word");
    }
    let reads = evidence["measured"]["speed"]["reads"].as_u64();
    anyhow::ensure!(reads > Some(0), "{}", evidence["measured"]["speed"]);

    // Every node has the same report and finds the seal to be the cluster's.
    let seal: Value = serde_json::from_slice(&std::fs::read(folder.join("seal.json"))?)?;
    let id = seal["drill"].as_u64().context("drill")?;
    verified(&demo, &folder).await?;
    demo.wait_equal(PATIENCE).await?;
    for (name, url) in &demo.nodes {
        let kept = demo.http.get(&format!("{url}/api/v1/drills/{id}")).await?;
        anyhow::ensure!(kept["seal_holds"] == true && kept["seal"] == seal["seal"], "{name}");
        anyhow::ensure!(kept["report"] == report, "{name} has another report");
        let page = format!("{url}/drills/{id}");
        let second = Duration::from_secs(20);
        let page = demo.http.send(hyper::Method::GET, &page, None, None, second).await?;
        anyhow::ensure!(page.status == 200 && page.text.contains("Fuzzy query"), "{}", page.text);
    }
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");
    Ok(())
}

/// Who has nothing but the folder and the cluster's public key sees whether the report is genuine.
async fn verified(demo: &Demo, folder: &Path) -> anyhow::Result<()> {
    let drills = demo.http.get(&format!("{}/api/v1/drills", demo.nodes[0].1)).await?;
    let key = drills["public_key"].as_str().context("no public key")?.to_owned();
    let verify = |key: &str| {
        let mut command = Command::new(programs()?.join("holdfast"));
        let output = command.args(["drill", "verify", "--key", key]).arg(folder).output()?;
        let said = [output.stdout, output.stderr].concat();
        anyhow::Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    };
    let (good, said) = verify(&key)?;
    anyhow::ensure!(good && said.contains("the signature holds"), "{said}");
    println!("{said}");
    let other = key.chars().rev().collect::<String>();
    let (good, said) = verify(&other)?;
    anyhow::ensure!(!good && said.contains("bad_signature"), "another key: {said}");
    let report = folder.join("report.json");
    let octets = std::fs::read(&report)?;
    let changed = String::from_utf8(octets.clone())?.replacen("\"drill\":", "\"drill\": ", 1);
    anyhow::ensure!(changed.as_bytes() != octets, "nothing was changed");
    std::fs::write(&report, changed)?;
    let (good, said) = verify(&key)?;
    anyhow::ensure!(!good && said.contains("bad_signature"), "a changed report: {said}");
    std::fs::write(&report, octets)?;
    Ok(())
}
