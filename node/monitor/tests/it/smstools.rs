//! The SMS server of Debian's smstools drives the tests' modem: a second program that others wrote,
//! a daemon with its own idea of how a modem is begun with and asked.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Modem, until};

/// Ends with the test.
struct Smsd(Child);

impl Drop for Smsd {
    fn drop(&mut self) {
        // It may have ended by itself; the test then says why.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Smsd {
    fn start(folder: &Path) -> Smsd {
        let place = |name: &str| folder.join(name).display().to_string();
        for name in ["out", "checked", "sent", "failed", "in"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        let settings = [
            "devices = GSM1".to_owned(),
            format!("outgoing = {}", place("out")),
            format!("checked = {}", place("checked")),
            format!("sent = {}", place("sent")),
            format!("failed = {}", place("failed")),
            format!("incoming = {}", place("in")),
            format!("logfile = {}", place("smsd.log")),
            format!("infofile = {}", place("smsd.running")),
            format!("pidfile = {}", place("smsd.pid")),
            "delaytime = 1\nerrorsleeptime = 1\nautosplit = 3\nloglevel = 7".to_owned(),
            format!("[GSM1]\ndevice = {}\nincoming = yes\ncheck_network = 1", place("modem")),
        ];
        let file = folder.join("smsd.conf");
        std::fs::write(&file, settings.join("\n") + "\n").unwrap();
        let mut command = Command::new("/usr/sbin/smsd");
        command.arg("-t").arg(format!("-c{}", file.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Smsd(child.expect("smstools is in .ci/packages"))
    }
}

#[test]
fn smsd_sends_and_receives_over_the_modem() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut modem = Modem::start(folder);
    let _smsd = Smsd::start(folder);
    let log = || std::fs::read_to_string(folder.join("smsd.log")).unwrap_or_default();
    let long = "Нет тока на подстанции. ".repeat(6);
    for (name, head, text) in [
        ("one", "To: 34600111222\n", "from another"),
        ("two", "To: 79161234567\nAlphabet: UTF-8\n", long.trim()),
    ] {
        // Whole at once: it takes what it finds.
        std::fs::write(folder.join("letter"), format!("{head}\n{text}")).unwrap();
        std::fs::rename(folder.join("letter"), folder.join("out").join(name)).unwrap();
    }
    let sent = until("all parts", || Some(modem.sent()).filter(|sent| sent.len() >= 4));
    let texts = |to: &str| -> String {
        let of = sent.iter().filter(|one| one["to"] == to);
        of.map(|one| one["text"].as_str().unwrap()).collect()
    };
    assert_eq!(texts("+34600111222"), "from another", "{}", log());
    assert_eq!(texts("+79161234567"), long.trim(), "{}", log());
    modem.order("receive +34600111222 12345");
    let came = until("the answer", || {
        let found = std::fs::read_dir(folder.join("in")).unwrap().next()?.unwrap();
        // UCS-2 as it came.
        let text = std::fs::read_to_string(found.path()).ok()?.replace('\0', "");
        text.contains("12345").then_some(text)
    });
    assert!(came.contains("From: 34600111222"), "{came}");
}
