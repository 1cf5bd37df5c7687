//! An SMS program that others wrote drives the tests' modem: so the modem is honest.

use std::path::Path;
use std::process::Command;

use crate::support::{Modem, until};

fn gammu(folder: &Path, arguments: &[&str]) -> String {
    let settings = folder.join("gammu.rc");
    let device = folder.join("modem");
    let text = format!("[gammu]\ndevice = {}\nconnection = at115200\n", device.display());
    std::fs::write(&settings, text).unwrap();
    let out = Command::new("gammu")
        .arg("-c")
        .arg(&settings)
        .args(arguments)
        .output()
        .expect("gammu is in .ci/packages");
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "gammu {arguments:?}: {told}");
    told
}

#[test]
fn gammu_takes_the_modem_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let modem = Modem::start(folder.path());
    assert!(gammu(folder.path(), &["identify"]).contains("490154203237518"));
    gammu(folder.path(), &["sendsms", "TEXT", "+79161234567", "-text", "from another"]);
    let unicode = ["sendsms", "TEXT", "+79161234567", "-unicode", "-text", "Нет тока"];
    gammu(folder.path(), &unicode);
    let sent = until("both", || Some(modem.sent()).filter(|sent| sent.len() == 2));
    assert_eq!(sent[0]["text"], "from another");
    assert_eq!(sent[1]["text"], "Нет тока");
}
