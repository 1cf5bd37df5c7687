//! Drills by the calendar, as two operators and two watchers have them on a live demo; and a drill
//! that goes from node to node.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use chaos_tests::demo::{Demo, Options, programs};
use chaos_tests::http::Http;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::alone;

const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody with a token of his own.
struct Somebody {
    http: Http,
    file: PathBuf,
    urls: String,
}

impl Somebody {
    /// Registers a program with a role in the whole utility.
    async fn new(demo: &Demo, scratch: &Path, name: &str, role: &str) -> anyhow::Result<Somebody> {
        let all = format!("{}/api/v1/operators", demo.nodes[0].1);
        let one = format!("{all}/{name}");
        let known = json!({"name": name, "full_name": name, "program": true});
        let grant = json!({"role": role, "reason": "test"});
        let token = json!({"label": "test", "days": 1});
        post(&demo.http, &all, &known).await?;
        post(&demo.http, &format!("{one}/grants"), &grant).await?;
        let made = post(&demo.http, &format!("{one}/tokens"), &token).await?;
        let token = made["token"].as_str().context("token")?;
        let file = scratch.join(name);
        std::fs::write(&file, token)?;
        let urls: Vec<&str> = demo.nodes.iter().map(|(_, url)| url.as_str()).collect();
        Ok(Somebody { http: Http::new(token), file, urls: urls.join(",") })
    }

    fn command(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs()?.join("holdfast"));
        command.arg("drill").args(words).args(["--url", &self.urls, "--token-file"]);
        command.arg(&self.file);
        Ok(command)
    }

    /// Whether it ended with 0, and what it printed.
    fn says(&self, words: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = self.command(words)?.output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("{said}");
        Ok((output.status.success(), said))
    }
}

/// A process that ends with the test.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        // An error says that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn post(http: &Http, url: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = http.send(Method::POST, url, Some(body), None, PATIENCE).await?;
    anyhow::ensure!((200..300).contains(&answer.status), "{url}: {}", answer.text);
    answer.json()
}

async fn code_of(http: &Http, url: &str, body: Value) -> anyhow::Result<String> {
    let answer = http.send(Method::POST, url, Some(&body), None, PATIENCE).await?;
    Ok(answer.json()?["code"].as_str().unwrap_or_default().to_owned())
}

async fn start(dir: PathBuf, port: u16) -> anyhow::Result<Demo> {
    let more = Vec::new();
    Demo::start(Options { dir, port, concentrators: 1, meters: 2, seconds: 900, more }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_carried_out_once_when_a_second_person_agreed() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let demo = start(scratch.path().join("demo"), 19_760).await?;
    let olga = Somebody::new(&demo, scratch.path(), "olga", "administrator").await?;
    let igor = Somebody::new(&demo, scratch.path(), "igor", "administrator").await?;
    let one = Somebody::new(&demo, scratch.path(), "watcher.one", "driller").await?;
    let two = Somebody::new(&demo, scratch.path(), "watcher.two", "driller").await?;
    let plans = format!("{}/api/v1/drills/plans", demo.nodes[0].1);

    // Due each minute from now on, and nothing happens while nobody else agreed.
    let add = ["plan", "add", "minutely", "--scenario", "leader-kill", "--cron", "* * * * *"];
    let add = [&add[..], &["--window", "60", "--backup", "none", "--reason", "story"]].concat();
    let (good, said) = one.says(&add)?;
    anyhow::ensure!(!good && said.contains("not_allowed"), "{said}");
    let (good, said) = olga.says(&add)?;
    anyhow::ensure!(good && said.contains("version 1: waiting"), "{said}");
    let code = code_of(&one.http, &format!("{plans}/minutely/claim"), Value::Null).await?;
    anyhow::ensure!(["turn_not_due", "plan_not_in_force"].contains(&code.as_str()), "{code}");
    let approve = ["plan", "approve", "minutely", "--version", "1", "--days", "1"];
    let (good, said) = olga.says(&approve)?;
    anyhow::ensure!(!good && said.contains("second_person"), "{said}");
    let (good, said) = one.says(&approve)?;
    anyhow::ensure!(!good && said.contains("not_allowed"), "{said}");
    let drills = format!("{}/api/v1/drills", demo.nodes[0].1);
    let wish = json!({"scenario": "leader-kill", "backup": "none", "reason": "mine"});
    anyhow::ensure!(code_of(&one.http, &drills, wish).await? == "not_allowed");
    let (good, said) = igor.says(&approve)?;
    anyhow::ensure!(good && said.contains("in_force"), "{said}");

    // Two watchers; the turn is carried out by one of them.
    let leader = demo.wait_leader(PATIENCE).await?;
    let pid = demo.pid(&leader)?;
    let watch = |who: &Somebody| -> anyhow::Result<Watcher> {
        let mut command = who.command(&["watch", "--every", "1"])?;
        Ok(Watcher(command.stdin(Stdio::null()).spawn()?))
    };
    let watchers = [watch(&one)?, watch(&two)?];
    let until = Instant::now() + Duration::from_secs(150);
    let turn = loop {
        sleep(Duration::from_secs(1)).await;
        if let Ok(all) = demo.http.get(&plans).await {
            let turns = all["items"][0]["turns"].as_array().cloned().unwrap_or_default();
            let over =
                |turn: &&Value| !["claimed", "begun"].iter().any(|came| turn["came"] == *came);
            if let Some(turn) = turns.iter().rev().find(over) {
                break turn.clone();
            }
        }
        anyhow::ensure!(Instant::now() < until, "no turn came");
    };
    let (good, said) = igor.says(&["plan", "revoke", "minutely", "--why", "seen"])?;
    anyhow::ensure!(good && said.contains("revoked"), "{said}");
    anyhow::ensure!(turn["came"] == "passed", "{turn}");
    anyhow::ensure!(demo.pid(&leader)? != pid, "{leader} was not killed");
    let drill = turn["drill"].as_u64().context("drill")?;
    let kept = demo.http.get(&format!("{drills}/{drill}")).await?;
    let operator = kept["report"]["identity"]["operator"].as_str().context("operator")?;
    anyhow::ensure!(operator == turn["by"] && operator.starts_with("watcher."), "{kept}");
    let reason = kept["report"]["identity"]["reason"].as_str().context("reason")?;
    let both = reason.contains("asked for by olga") && reason.contains("approved by igor");
    anyhow::ensure!(both && kept["seal_holds"] == true, "{reason}");

    // Each due time stands once, and each drill belongs to one turn.
    drop(watchers);
    let all = demo.http.get(&plans).await?;
    let turns = all["items"][0]["turns"].as_array().context("turns")?;
    let mut dues: Vec<&str> = turns.iter().filter_map(|turn| turn["due"].as_str()).collect();
    let count = dues.len();
    dues.dedup();
    anyhow::ensure!(dues.len() == count, "{all}");
    let begun = demo.http.get(&drills).await?;
    let begun = begun["items"].as_array().map_or(0, Vec::len);
    let of_turns = turns.iter().filter(|turn| turn["drill"].is_u64()).count();
    anyhow::ensure!(begun == of_turns, "{begun} drills of {of_turns} turns");
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_restarted_in_turn() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let demo = start(scratch.path().join("demo"), 19_780).await?;
    let olga = Somebody::new(&demo, scratch.path(), "olga", "administrator").await?;
    let names: Vec<String> = demo.nodes.iter().map(|(name, _)| name.clone()).collect();
    let pids = || names.iter().map(|name| demo.pid(name)).collect::<anyhow::Result<Vec<_>>>();
    let leader = demo.wait_leader(PATIENCE).await?;
    demo.wait_equal(PATIENCE).await?;
    let before = pids()?;
    let (good, said) = olga.says(&["rolling-restart", "--backup", "none", "--yes"])?;
    anyhow::ensure!(good && said.contains("verdict: PASSED"), "{said}");
    let after = pids()?;
    anyhow::ensure!(before.iter().zip(&after).all(|(old, new)| old != new), "{before:?} {after:?}");
    let (_, json) = olga.says(&["report", "--json"])?;
    let kept: Value = serde_json::from_str(&json).context(json)?;
    let steps = kept["report"]["steps"].as_array().context("steps")?;
    anyhow::ensure!(steps.len() == 3, "{steps:?}");
    let last = steps[2]["node"].as_u64().and_then(|node| usize::try_from(node).ok());
    let nodes = kept["report"]["identity"]["nodes"].as_array().context("nodes")?;
    anyhow::ensure!(last.map(|last| &nodes[last]) == Some(&json!(leader)), "{leader} is not last");
    for none in ["lost", "doubled", "stale_reads"] {
        anyhow::ensure!(kept["report"]["kept"][none] == 0, "{none}: {kept}");
    }

    // The same build again is no upgrade; nor is it a version that nobody installed.
    demo.wait_equal(PATIENCE).await?;
    let upgrade = ["rolling-upgrade", "--backup", "none", "--yes"];
    let (good, said) = olga.says(&[&upgrade[..], &["--to", "99.0.0"]].concat())?;
    anyhow::ensure!(!good && said.contains("drill_failed"), "{said}");
    anyhow::ensure!(said.contains("not 99.0.0"), "{said}");
    anyhow::ensure!(demo.stop().await? == 0, "the demo did not end cleanly");
    Ok(())
}
