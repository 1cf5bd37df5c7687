//! A town of the demo for the stories of the pages: three nodes, its people, its meters.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaos_tests::browser::Browser;
use chaos_tests::demo::{Demo, Options};
use hyper::Method;
use serde_json::{Value, json};

pub struct Town {
    pub demo: Demo,
    pub dir: tempfile::TempDir,
}

impl Town {
    /// With a load profile of so many hours before now.
    pub async fn start(port: u16, hours: u32) -> anyhow::Result<Town> {
        let dir = tempfile::tempdir()?;
        let demo = Demo::start(Options {
            dir: dir.path().join("demo"),
            port,
            concentrators: 3,
            meters: 4,
            seconds: 900,
            more: vec!["--history".to_owned(), format!("{hours}h")],
        })
        .await?;
        let town = Town { demo, dir };
        town.settled().await?;
        Ok(town)
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.demo.nodes[0].1)
    }

    /// Waits until the town's people are registered and what meters hold has come.
    async fn settled(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(180);
        loop {
            let people = self.demo.http.get(&self.url("/api/v1/operators/kerr")).await;
            let of = "/api/v1/collection";
            let collected = self.demo.http.get(&self.url(of)).await;
            let come = |seen: &Value| seen["day"]["rate_ppm"].as_u64() > Some(800_000);
            let ready = people.is_ok_and(|kerr| kerr["roles"].is_array());
            if ready && collected.as_ref().is_ok_and(come) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no town yet: {collected:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub async fn post(&self, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let (url, limit, body) = (self.url(path), Duration::from_secs(20), body.as_ref());
        let answer = self.demo.http.send(Method::POST, &url, body, None, limit).await?;
        ensure!(answer.status < 300, "{path}: {answer:?}");
        answer.json()
    }

    /// A task that has run.
    pub async fn task(&self, name: &str) -> anyhow::Result<()> {
        let rule = json!({"name": name, "what": "registers", "cron": "15 0 * * *", "spread_s": 1});
        if self.demo.http.get(&self.url(&format!("/api/v1/tasks/{name}"))).await.is_err() {
            self.post("/api/v1/tasks", Some(rule)).await?;
            self.post(&format!("/api/v1/tasks/{name}/run"), None).await?;
        }
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let task = self.demo.http.get(&self.url(&format!("/api/v1/tasks/{name}"))).await?;
            if task["run"]["state"] == "complete" {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no run: {task}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A password for the first login.
    pub async fn password(&self, name: &str) -> anyhow::Result<String> {
        let made = self.post(&format!("/api/v1/operators/{name}/password"), None).await?;
        Ok(made["password"].as_str().context("a password")?.to_owned())
    }

    /// A customer of a region with his meter: his name and the meter's serial.
    pub async fn customer(&self, region: u64) -> anyhow::Result<(String, String)> {
        let of = |kind: &str| self.url(&format!("/api/v1/registry/{kind}?limit=1000"));
        let customers = self.demo.http.get(&of("customers")).await?;
        let contracts = self.demo.http.get(&of("contracts")).await?;
        let installed = self.demo.http.get(&of("installations")).await?;
        let items = |page: &Value| page["items"].as_array().cloned().unwrap_or_default();
        let facts = |one: &Value, name: &str| one["facts"][name].clone();
        let his = |one: &&Value| facts(one, "region") == region;
        let customer = items(&customers).iter().find(his).cloned().context("a customer")?;
        let is_his = |one: &&Value| facts(one, "customer") == customer["number"];
        let contract = items(&contracts).iter().find(is_his).cloned().context("a contract")?;
        let point = facts(&contract, "point");
        let is_there = |one: &&Value| facts(one, "point") == point;
        let meter = items(&installed).iter().find(is_there).cloned().context("a meter")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&facts(&customer, "name")).context("a name")?;
        Ok((name, text(&meter["number"]).context("a serial")?))
    }
}

pub async fn log_in(
    browser: &Browser,
    url: &str,
    user: &str,
    password: &str,
) -> anyhow::Result<()> {
    browser.go(&format!("{url}/login")).await?;
    browser.fill("#user", user).await?;
    browser.fill("#password", password).await?;
    browser.click("main button[type=submit]").await
}
