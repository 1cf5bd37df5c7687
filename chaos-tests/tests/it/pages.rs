//! The operators' pages in a real browser against a real cluster: an operator's day, another one's
//! by keyboard alone, every page in every language, and pictures of them for the guide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaos_tests::browser::{Browser, ENTER, TAB};
use chaos_tests::demo::{Signal, signal};
use serde_json::{Value, json};

use crate::alone;
use crate::town::{Town, log_in};

const PHRASE: &str = "a phrase for the pages";
/// What a command's row of the meter's page shows when its answer has come.
const ANSWERED: &str = "const row = document.querySelector('[aria-labelledby=commands] tbody tr'); \
    return row && row.querySelector('.badge.acknowledged') && row.children[1].innerText";

/// The first login is good for a new password alone.
async fn choose_password(browser: &Browser, first: &str) -> anyhow::Result<()> {
    browser.until("at the account", "return location.pathname == '/me'").await?;
    browser.fill("#old", first).await?;
    browser.fill("#new", PHRASE).await?;
    browser.fill("#again", PHRASE).await?;
    browser.click("form[action='/me/password'] button").await?;
    browser.until("a new password", "return !!document.querySelector('[role=status].ok')").await?;
    Ok(())
}

/// Orders a read on the page and waits for the value.
async fn read_now(browser: &Browser, serial: &str) -> anyhow::Result<String> {
    browser.click(&format!("form[action='/meters/{serial}/read'] button")).await?;
    browser.fill("#obis", "1-0:2.8.0").await?;
    let seen = browser.until("a value on the meter's page", ANSWERED).await?;
    // The page was renewed under his hands, and what he types is still there.
    let typed = browser.run("return document.querySelector('#obis').value").await?;
    ensure!(typed == "1-0:2.8.0", "typed and gone: {typed}");
    let value = seen.as_str().context("a text")?.to_owned();
    let digits = value.chars().filter(char::is_ascii_digit).count();
    ensure!(digits > 0 && value.ends_with("Wh"), "{value:?} is no energy");
    Ok(value)
}

/// Ana works in the north: finds a meter by a part of its customer's name, reads it, switches its
/// concentrator's channel, and goes on at the next node when the leader dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_day_in_a_browser() -> anyhow::Result<()> {
    let _alone = alone().await;
    let town = Town::start(20_480, 3).await?;
    let browser = Browser::start(&town.dir.path().join("ana"), "en").await?;
    let first = town.password("ana").await?;
    log_in(&browser, &town.url(""), "ana", "a wrong phrase").await?;
    browser.until("refused", "return !!document.querySelector('[role=alert]')").await?;
    log_in(&browser, &town.url(""), "ana", &first).await?;
    choose_password(&browser, &first).await?;
    // Her account says Spanish, whatever the browser asks for; she may choose.
    ensure!(browser.text().await?.contains("Su contraseña ha cambiado."), "in Spanish");
    browser.click("#language option[value=zh]").await?;
    browser.click("form[action='/me/language'] button").await?;
    browser.until("Chinese", "return document.documentElement.lang == 'zh-Hans'").await?;
    browser.click("#language option[value=es]").await?;
    browser.click("form[action='/me/language'] button").await?;
    browser.until("Spanish", "return document.documentElement.lang == 'es'").await?;

    let (name, serial) = town.customer(1).await?;
    let part: String = name.chars().skip(1).take(4).collect();
    browser.click("nav a[href='/search']").await?;
    browser.fill("#text", &part).await?;
    browser.click("form[action='/search'] button").await?;
    browser.click(&format!("main table a[href='/meters/{serial}']")).await?;
    let value = read_now(&browser, &serial).await?;
    println!("{name} found by {part:?}, meter {serial} read: {value}");

    switch(&town, &browser).await?;
    another_region(&town, &browser).await?;
    without_the_leader(&town, &browser, &serial).await?;
    ensure!(town.demo.stop().await? == 0, "the demo ends well");
    Ok(())
}

async fn switch(town: &Town, browser: &Browser) -> anyhow::Result<()> {
    browser.click("dl a[href^='/meters?concentrator=']").await?;
    browser.find("#to option").await?;
    let to = browser.run("return document.querySelector('#to').value").await?;
    let to = to.as_str().context("a node")?.to_owned();
    browser.click("form[action$='/switch'] button").await?;
    let until = Instant::now() + chaos_tests::browser::PATIENCE;
    let row = "const row = document.querySelector('[aria-labelledby=history] tbody tr'); \
        return row && row.innerText";
    loop {
        let seen = browser.run(row).await?;
        let seen = seen.as_str().unwrap_or_default();
        if seen.contains("ordered") && seen.contains(&to) {
            break;
        }
        ensure!(Instant::now() < until, "not switched to {to}: {seen}");
        // The page shows it by itself.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let trail = town.demo.http.get(&town.url("/api/v1/audit?operator=ana&limit=50")).await?;
    let noted = trail["items"].as_array().context("records")?;
    ensure!(noted.iter().any(|one| one["action"] == "leases.switch"), "{trail}");
    Ok(())
}

/// What lies in another region does not exist for her.
async fn another_region(town: &Town, browser: &Browser) -> anyhow::Result<()> {
    let (name, serial) = town.customer(2).await?;
    let status = |path: &str| {
        format!(
            "const asked = new XMLHttpRequest(); asked.open('GET', {}, false); asked.send(); \
             return asked.status",
            json!(path)
        )
    };
    browser.go(&town.url(&format!("/meters/{serial}"))).await?;
    let text = browser.text().await?;
    ensure!(text.contains("No existe ese contador") && text.contains("unknown_meter"), "{text}");
    ensure!(!text.contains(&name), "{text}");
    ensure!(browser.run(&status(&format!("/meters/{serial}"))).await? == 404, "not found");
    ensure!(browser.run(&status(&format!("/meters/{serial}/none"))).await? == 404, "not found");
    let part: String = name.chars().take(4).collect();
    browser.go(&town.url("/search")).await?;
    browser.fill("#text", &part).await?;
    browser.click("form[action='/search'] button").await?;
    browser.until("answered", "return !!document.querySelector('main [role=status]')").await?;
    ensure!(!browser.text().await?.contains(&name), "{name} is found");
    Ok(())
}

/// The leader is killed: the next node shows the pages to the same login, and orders are carried
/// out.
async fn without_the_leader(town: &Town, browser: &Browser, serial: &str) -> anyhow::Result<()> {
    let patience = Duration::from_secs(60);
    let leader = town.demo.wait_leader(patience).await?;
    let next = town.demo.nodes.iter().find(|(name, _)| *name != leader).context("another")?;
    signal(town.demo.pid(&leader)?, Signal::Kill)?;
    browser.go(&format!("{}/meters/{serial}", next.1)).await?;
    // A page that has to wait for a leader renews itself; nobody logs in again.
    browser.find(&format!("form[action='/meters/{serial}/read'] button")).await?;
    ensure!(!browser.address().await?.contains("/login"), "the session holds");
    let rows = "return document.querySelectorAll('[aria-labelledby=commands] tbody tr').length";
    let before = browser.run(rows).await?.as_u64().unwrap_or(0);
    let until = Instant::now() + chaos_tests::browser::PATIENCE;
    // While nobody leads an order is refused with a page that says so; then it is asked for again.
    loop {
        browser.go(&format!("{}/meters/{serial}", next.1)).await?;
        browser.click(&format!("form[action='/meters/{serial}/read'] button")).await?;
        if browser.run(rows).await?.as_u64().unwrap_or(0) > before {
            break;
        }
        ensure!(Instant::now() < until, "no order without {leader}");
    }
    let value = browser.until("a value after the failover", ANSWERED).await?;
    println!("without {leader}, at {}: {value}", next.0);
    Ok(())
}

/// Petrova uses no mouse at all, and reads Russian.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_is_found_and_read_by_keyboard_alone() -> anyhow::Result<()> {
    let _alone = alone().await;
    let town = Town::start(20_580, 3).await?;
    let browser = Browser::start(&town.dir.path().join("petrova"), "en").await?;
    let first = town.password("petrova").await?;
    browser.go(&town.url("/login")).await?;
    browser.until("the form", "return document.activeElement.id == 'user'").await?;
    browser.press(&format!("petrova{TAB}{first}{ENTER}")).await?;
    browser.until("at the account", "return location.pathname == '/me'").await?;
    browser.tab_to("#old").await?;
    browser.press(&format!("{first}{TAB}{PHRASE}{TAB}{PHRASE}{ENTER}")).await?;
    browser.until("a new password", "return !!document.querySelector('[role=status].ok')").await?;
    ensure!(browser.text().await?.contains("Пароль изменён."), "in Russian");

    let (name, serial) = town.customer(2).await?;
    browser.tab_to("nav a[href='/search']").await?;
    browser.press(ENTER).await?;
    browser.until("the search", "return document.activeElement.id == 'text'").await?;
    let part: String = name.chars().take(5).collect();
    browser.press(&format!("{}{ENTER}", part.to_lowercase())).await?;
    browser.find(&format!("main table a[href='/meters/{serial}']")).await?;
    browser.tab_to(&format!("main table a[href='/meters/{serial}']")).await?;
    browser.press(ENTER).await?;
    browser.find(&format!("form[action='/meters/{serial}/read'] button")).await?;
    browser.tab_to(&format!("form[action='/meters/{serial}/read'] button")).await?;
    browser.press(ENTER).await?;
    let value = browser.until("a value on the meter's page", ANSWERED).await?;
    println!("{name} found and meter {serial} read by keyboard: {value}");
    browser.tab_to("form[action='/logout'] button").await?;
    browser.press(ENTER).await?;
    browser.until("logged out", "return location.pathname == '/login'").await?;
    ensure!(town.demo.stop().await? == 0, "the demo ends well");
    Ok(())
}

/// Every page of a person who may see all, by its name in the guide.
async fn pages(town: &Town) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (name, serial) = town.customer(1).await?;
    town.task("daily-registers").await?;
    let meter = town.demo.http.get(&town.url(&format!("/api/v1/meters/{serial}"))).await?;
    let concentrator = meter["concentrator"].as_str().context("a concentrator")?;
    let points = town.demo.http.get(&town.url("/api/v1/registry/points?limit=1")).await?;
    let point = points["items"][0]["number"].as_str().context("a point")?;
    let part: String = name.chars().take(3).collect();
    Ok(vec![
        ("cluster", "/".to_owned()),
        ("meters", "/meters".to_owned()),
        ("concentrator", format!("/meters?concentrator={concentrator}")),
        ("meter", format!("/meters/{serial}?hours=24")),
        ("search", format!("/search?text={part}")),
        ("registry", "/registry/customers".to_owned()),
        ("object", format!("/registry/points/{point}")),
        ("drills", "/drills".to_owned()),
        ("operators", "/operators".to_owned()),
        ("audit", "/audit".to_owned()),
        ("collection", "/collection".to_owned()),
        ("topology", "/topology?region=1&transformer=T-001".to_owned()),
        ("gaps", format!("/concentrators/{concentrator}/gaps")),
        ("commands", "/commands".to_owned()),
        ("tasks", "/tasks".to_owned()),
        ("task", "/tasks/daily-registers".to_owned()),
        ("parameters", "/parameters".to_owned()),
        ("parameter", "/parameters/live.length_seconds".to_owned()),
        ("account", "/me".to_owned()),
        ("problem", "/meters/NOSUCHMETER".to_owned()),
    ])
}

/// The texts of a language that differ from the English ones and have no places: English, its own.
fn catalogue(language: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/texts");
    let read = |language: &str| -> anyhow::Result<toml::Table> {
        Ok(std::fs::read_to_string(folder.join(format!("{language}.toml")))?.parse()?)
    };
    let (english, its) = (read("en")?, read(language)?);
    let mut out = BTreeMap::new();
    collect(&english, &its, &mut out);
    ensure!(out.len() > 200, "{language} is read");
    Ok(out)
}

fn collect(english: &toml::Table, its: &toml::Table, out: &mut BTreeMap<String, String>) {
    for (key, value) in english {
        match (value, its.get(key)) {
            (toml::Value::Table(below), Some(toml::Value::Table(other))) => {
                collect(below, other, out);
            }
            (toml::Value::String(text), Some(toml::Value::String(other)))
                if text != other && !text.contains('{') && !text.contains('`') =>
            {
                out.insert(text.clone(), other.clone());
            }
            _ => {}
        }
    }
}

/// Every piece of text that is not marked as English, as code or as what it stands for.
const PIECES: &str = "const out = []; \
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
    while (walk.nextNode()) { const at = walk.currentNode.parentElement; \
    const left_out = at.closest('body [lang=en], code, script, option'); \
    if (!left_out) out.push(walk.currentNode.data.trim()); } \
    document.querySelectorAll('[aria-label]').forEach(one => \
    out.push(one.getAttribute('aria-label'))); \
    return out.filter(text => text != '')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_speaks_every_language_and_complains_of_nothing() -> anyhow::Result<()> {
    let _alone = alone().await;
    let town = Town::start(20_680, 3).await?;
    let pages = pages(&town).await?;
    for (language, tag) in [("en", "en"), ("es-MX", "es"), ("ru", "ru"), ("zh-CN", "zh-Hans")] {
        let browser = Browser::start(&town.dir.path().join(language), language).await?;
        let texts = if tag == "en" { BTreeMap::new() } else { catalogue(&language[..2])? };
        browser.go(&town.url("/login")).await?;
        untranslated(&browser, &texts, "/login").await?;
        // The founder has no account: the browser says which language.
        log_in(&browser, &town.url(""), "admin", town.demo.http.token()).await?;
        browser.until("logged in", "return location.pathname == '/'").await?;
        for (name, path) in &pages {
            browser.go(&town.url(path)).await?;
            let here = browser.run("return document.documentElement.lang").await?;
            ensure!(here == tag, "{path} is in {here}, not in {tag}");
            untranslated(&browser, &texts, path).await?;
            let complaints = browser.complaints().await?;
            // That a meter is not there is told by the status, which the console repeats.
            let of_status = |text: &String| text.contains("status of 404") && *name == "problem";
            let complaints: Vec<_> = complaints.into_iter().filter(|c| !of_status(c)).collect();
            ensure!(complaints.is_empty(), "{path} in {language}: {complaints:?}");
        }
    }
    ensure!(town.demo.stop().await? == 0, "the demo ends well");
    Ok(())
}

async fn untranslated(
    browser: &Browser,
    texts: &BTreeMap<String, String>,
    path: &str,
) -> anyhow::Result<()> {
    let pieces = browser.run(PIECES).await?;
    let pieces = pieces.as_array().context("pieces")?;
    ensure!(pieces.len() > 5, "{path} says something: {pieces:?}");
    for piece in pieces.iter().filter_map(Value::as_str) {
        let plain = piece.trim_start_matches(['●', '▲', '◆', ' ']);
        if let Some(own) = texts.get(plain) {
            anyhow::bail!("{path} says {piece:?} instead of {own:?}");
        }
    }
    Ok(())
}

/// Where pictures go: into the guide with `HOLDFAST_WRITE_DOCS`, else nowhere that lasts.
fn pictures(town: &Town) -> PathBuf {
    match std::env::var_os("HOLDFAST_WRITE_DOCS") {
        Some(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/pages"),
        None => town.dir.path().join("pictures"),
    }
}

/// A page never needs to be pushed sideways, not on a telephone either: what is wide scrolls in a
/// frame of its own. The pictures of the guide are made on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_every_screen() -> anyhow::Result<()> {
    let _alone = alone().await;
    let town = Town::start(20_780, 26).await?;
    let browser = Browser::start(&town.dir.path().join("admin"), "en").await?;
    let folder = pictures(&town);
    std::fs::create_dir_all(&folder)?;
    for (width, dark) in [(1280, false), (1280, true), (360, false), (360, true), (2560, false)] {
        browser.show_as(width, 900, dark).await?;
        browser.go(&town.url("/login")).await?;
        take(&browser, &folder, "login", width, dark).await?;
        log_in(&browser, &town.url(""), "admin", town.demo.http.token()).await?;
        browser.until("logged in", "return location.pathname == '/'").await?;
        let pages = pages(&town).await?;
        if width == 1280 && !dark {
            let (_, meter) = pages.iter().find(|(name, _)| *name == "meter").context("a meter")?;
            browser.go(&town.url(meter)).await?;
            browser.click("form[action$='/read'] button").await?;
            browser.until("a value on the meter's page", ANSWERED).await?;
        }
        for (name, path) in pages {
            browser.go(&town.url(&path)).await?;
            take(&browser, &folder, name, width, dark).await?;
        }
        browser.go(&town.url("/")).await?;
        browser.click("form[action='/logout'] button").await?;
    }
    // The founder's account has nothing to set: the picture is a person's.
    let first = town.password("kerr").await?;
    log_in(&browser, &town.url(""), "kerr", &first).await?;
    choose_password(&browser, &first).await?;
    for width in [360, 2560, 1280] {
        browser.show_as(width, 900, false).await?;
        browser.go(&town.url("/me")).await?;
        take(&browser, &folder, "account", width, false).await?;
    }
    ensure!(town.demo.stop().await? == 0, "the demo ends well");
    Ok(())
}

async fn take(
    browser: &Browser,
    folder: &Path,
    name: &str,
    width: u32,
    dark: bool,
) -> anyhow::Result<()> {
    let wide = "return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)";
    let wide = browser.run(wide).await?.as_u64().context("a width")?;
    ensure!(wide <= u64::from(width), "{name} is {wide} wide on a screen of {width}");
    // Light pictures of all, dark and narrow ones of two: the guide stays small.
    let chosen = matches!(name, "cluster" | "meter");
    let shown = match (width, dark) {
        (1280, false) => true,
        (1280, true) | (360, false) => chosen,
        _ => false,
    };
    if !shown {
        return Ok(());
    }
    let tall = browser.run("return document.documentElement.scrollHeight").await?;
    let tall = tall.as_u64().and_then(|tall| u32::try_from(tall).ok()).unwrap_or(900);
    let most = if width == 360 { 1400 } else { 1500 };
    browser.show_as(width, tall.clamp(400, most), dark).await?;
    let picture = browser.picture().await?;
    browser.show_as(width, 900, dark).await?;
    let head = picture.get(16..20).context("a PNG")?;
    let drawn = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    ensure!(picture.starts_with(b"\x89PNG") && drawn == width, "{name}: {drawn} wide");
    let suffix = match (width, dark) {
        (360, _) => "-360",
        (_, true) => "-dark",
        _ => "",
    };
    let file = folder.join(format!("{name}{suffix}.png"));
    std::fs::write(&file, picture)?;
    // Fewer colours are a quarter of the octets; without the tool the picture is as good.
    let _ = Command::new("pngquant")
        .args(["--force", "--skip-if-larger", "--strip", "--ext", ".png", "64"])
        .arg(&file)
        .status();
    Ok(())
}
