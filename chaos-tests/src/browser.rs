//! A headless Chromium, driven by the W3C WebDriver protocol over `chromedriver`, as somebody with
//! a mouse and a keyboard.
//!
//! Not here: what the pages say. Invariants: every wait looks for a condition until a deadline; the
//! browser and its driver are one process group that ends with this value, however it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hyper::Method;
use serde_json::{Value, json};

use crate::http::Http;

/// How long a condition of a page may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The longest single answer of the driver; a page that loads slowly is one.
const ANSWER: Duration = Duration::from_secs(60);
/// Between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The member that names an element (W3C WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The tabulator key (W3C WebDriver, 17.4.2).
pub const TAB: &str = "\u{e004}";
/// The enter key.
pub const ENTER: &str = "\u{e007}";

/// A browser with one window.
pub struct Browser {
    driver: Child,
    http: Http,
    session: String,
}

/// An element of the page that was loaded when it was found.
#[derive(Clone, Debug)]
pub struct Element(String);

impl Browser {
    /// Starts a browser that asks for pages in a language; `dir` keeps its profile.
    ///
    /// # Errors
    /// `chromedriver` or Chromium is not installed, or does not start within a minute.
    pub async fn start(dir: &Path, language: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver is not installed: run .ci/packages")?;
        let said = driver.stdout.take().context("its output")?;
        let mut browser = Self { driver, http: Http::new(""), session: String::new() };
        let port = tokio::time::timeout(ANSWER, port_of(said)).await;
        let base = port.context("chromedriver does not listen")??;
        browser.session = format!("{base}/session");
        let profile = dir.join("profile");
        // The sandbox wants a user that is not root; the pages are our own.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--force-device-scale-factor=1",
            "--hide-scrollbars",
            "--window-size=1280,900",
            &format!("--accept-lang={language}"),
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wish = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {"intl.accept_languages": language},
            },
        }}});
        let made = browser.ask(Method::POST, "", Some(&wish)).await?;
        let id = made["sessionId"].as_str().context("a session")?;
        browser.session = format!("{base}/session/{id}");
        Ok(browser)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.session);
        let answer = self.http.send(method, &url, body, None, ANSWER).await?;
        let told = answer.json()?;
        ensure!(answer.status == 200, "{path}: {}", told["value"]["message"]);
        Ok(told["value"].clone())
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, Some(&body)).await
    }

    /// Loads a page and waits until it is there.
    ///
    /// # Errors
    /// Nobody answers at the address.
    pub async fn go(&self, url: &str) -> anyhow::Result<()> {
        self.post("/url", json!({"url": url})).await.map(drop)
    }

    /// The address of the page.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn address(&self) -> anyhow::Result<String> {
        let url = self.ask(Method::GET, "/url", None).await?;
        Ok(url.as_str().context("an address")?.to_owned())
    }

    /// What a script on the page returns.
    ///
    /// # Errors
    /// It throws.
    pub async fn run(&self, script: &str) -> anyhow::Result<Value> {
        self.post("/execute/sync", json!({"script": script, "args": []})).await
    }

    /// Everything that the page shows, as text.
    ///
    /// # Errors
    /// There is no page.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self.run("return document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The first element of a CSS selector, as soon as there is one.
    ///
    /// # Errors
    /// There is none within [`PATIENCE`].
    pub async fn find(&self, selector: &str) -> anyhow::Result<Element> {
        let wish = json!({"using": "css selector", "value": selector});
        let until = Instant::now() + PATIENCE;
        loop {
            match self.post("/element", wish.clone()).await {
                Ok(found) => {
                    return Ok(Element(found[ELEMENT].as_str().context("an element")?.to_owned()));
                }
                Err(error) if Instant::now() > until => {
                    bail!("no {selector}: {error}; the page:\n{}", self.text().await?)
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Clicks what a selector finds; again, while the page renews itself under the pointer.
    ///
    /// # Errors
    /// It cannot be clicked within [`PATIENCE`].
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Element(id) = self.find(selector).await?;
            match self.post(&format!("/element/{id}/click"), json!({})).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => bail!("{selector}: {error}"),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Fills a field anew.
    ///
    /// # Errors
    /// There is no such field within [`PATIENCE`].
    pub async fn fill(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let Element(id) = self.find(selector).await?;
        self.post(&format!("/element/{id}/clear"), json!({})).await?;
        self.post(&format!("/element/{id}/value"), json!({"text": text})).await.map(drop)
    }

    /// Presses keys one after the other, wherever the focus is.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn press(&self, keys: &str) -> anyhow::Result<()> {
        let one = |key: char| {
            let key = key.to_string();
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        };
        let actions: Vec<Value> = keys.chars().flat_map(one).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.post("/actions", json!({"actions": [keyboard]})).await.map(drop)
    }

    /// Waits until a script on the page returns something that is true.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`]; the error shows the page.
    pub async fn until(&self, what: &str, script: &str) -> anyhow::Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.run(script).await;
            if let Ok(seen) = &seen
                && !matches!(seen, Value::Null | Value::Bool(false))
                && seen.as_str() != Some("")
            {
                return Ok(seen.clone());
            }
            if Instant::now() > until {
                let (at, text) = (self.address().await?, self.text().await?);
                bail!("not {what} within {PATIENCE:?} ({seen:?}); {at} shows:\n{text}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Walks with the tabulator until the focus is where a selector says, by keyboard alone.
    ///
    /// # Errors
    /// It is not reached within [`PATIENCE`].
    pub async fn tab_to(&self, selector: &str) -> anyhow::Result<()> {
        let there = format!(
            "return !!document.activeElement && document.activeElement.matches({})",
            json!(selector)
        );
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.run(&there).await? == Value::Bool(true) {
                return Ok(());
            }
            self.press(TAB).await?;
        }
        bail!("the keyboard does not reach {selector}; the page:\n{}", self.text().await?)
    }

    /// Width and height of the window in CSS pixels, and whether it is dark.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn show_as(&self, width: u32, height: u32, dark: bool) -> anyhow::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]})).await
    }

    async fn devtools(&self, command: &str, parameters: Value) -> anyhow::Result<()> {
        let body = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", body).await.map(drop)
    }

    /// A picture of the window as PNG.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        let picture = self.ask(Method::GET, "/screenshot", None).await?;
        unpacked(picture.as_str().context("a picture")?)
    }

    /// What the console has said since the last call, warnings and worse: scripts that failed,
    /// violations of the content security policy.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = self.post("/se/log", json!({"type": "browser"})).await?;
        let lines = log.as_array().context("a log")?.iter();
        let bad = lines.filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        Ok(bad.map(|line| line["message"].to_string()).collect())
    }
}

/// The driver's address, from the line that it prints; what it prints later is read and forgotten,
/// for a full pipe would stop it.
async fn port_of(said: impl std::io::Read + Send + 'static) -> anyhow::Result<String> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut tell = Some(tell);
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            if let Some((_, port)) = line.rsplit_once("successfully on port ")
                && let Some(tell) = tell.take()
            {
                let _ = tell.send(port.trim_end_matches('.').to_owned());
            }
        }
    });
    let port: u16 = told.await.context("chromedriver ended before it listened")?.parse()?;
    Ok(format!("http://127.0.0.1:{port}"))
}

/// Base64 (RFC 4648, 4) as octets.
fn unpacked(text: &str) -> anyhow::Result<Vec<u8>> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u8);
    for letter in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | u32::from(digit(letter).context("not base64")?);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Ok(out)
}

impl Drop for Browser {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        let group = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::unpacked;

    #[test]
    fn base64_is_read() {
        for (text, expect) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmE=", "fooba")] {
            assert_eq!(unpacked(text).ok(), Some(expect.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(unpacked("+/8=").ok(), Some(vec![0xfb, 0xff]));
        assert!(unpacked("a*b").is_err());
    }
}
