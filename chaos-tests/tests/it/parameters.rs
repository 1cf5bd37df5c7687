//! The pages of the parameters in a real browser, at a real cluster.

use anyhow::ensure;
use chaos_tests::browser::Browser;
use serde_json::Value;

use crate::alone;
use crate::town::{Town, log_in};

const NAME: &str = "live.length_seconds";

/// Types a value with a reason, sets it, and waits for what is said.
async fn set(browser: &Browser, value: &str, reason: &str, said: &str) -> anyhow::Result<()> {
    browser.fill("#value", value).await?;
    browser.fill("#reason", reason).await?;
    browser.click(&format!("form[action='/parameters/{NAME}'] button")).await?;
    let there = format!("return !!document.querySelector('[role=status].{said}')");
    browser.until(said, &there).await.map(drop)
}

/// A value out of its bounds comes back with what was typed; two are set; the first is taken back
/// as a third version; the API tells the same history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_is_set_refused_and_rolled_back() -> anyhow::Result<()> {
    let _alone = alone().await;
    let town = Town::start(21_080, 3).await?;
    let browser = Browser::start(&town.dir.path().join("admin"), "ru").await?;
    log_in(&browser, &town.url(""), "admin", town.demo.http.token()).await?;
    browser.until("logged in", "return location.pathname == '/'").await?;
    browser.click("nav a[href='/parameters']").await?;
    browser.click(&format!("main table a[href='/parameters/{NAME}']")).await?;

    set(&browser, "5", "too short", "bad").await?;
    let typed =
        "return document.querySelector('#value').value + document.querySelector('#reason').value";
    let typed = browser.run(typed).await?;
    ensure!(typed == "5too short", "typed and gone: {typed}");
    set(&browser, "120", "two minutes do", "ok").await?;
    set(&browser, "240", "they did not", "ok").await?;
    browser.click(&format!("main table a[href='/parameters/{NAME}?value=120#set']")).await?;
    let filled = "return document.querySelector('#value').value == '120'";
    browser.until("the value of before", filled).await?;
    set(&browser, "120", "back to the first", "ok").await?;

    let told = town.demo.http.get(&town.url(&format!("/api/v1/parameters/{NAME}"))).await?;
    let history = told["history"].as_array().map_or(&[][..], Vec::as_slice);
    let values: Vec<_> = history.iter().map(|one| one["value"].as_u64()).collect();
    ensure!(values == [Some(120), Some(240), Some(120)], "{values:?}");
    ensure!(told["value"] == 120 && told["version"] == 3, "{told}");
    ensure!(history.last().map(|one| &one["reason"]) == Some(&Value::from("back to the first")));
    ensure!(town.demo.stop().await? == 0, "the demo ends well");
    Ok(())
}
