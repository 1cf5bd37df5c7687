//! Throw-away environments of Python packages that tests compare us with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of an environment that holds exactly the packages of
/// `tests/NAME/requirements.txt`; it stands beside the build.
pub fn environment(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let home = program.parent().unwrap().join(format!("{name}-environment"));
    let python = home.join("bin/python");
    let requirements = folder(name).join("requirements.txt");
    // Tests run as processes beside each other: one makes it, the others wait.
    let turn = fs::File::create(home.with_extension("lock")).unwrap();
    turn.lock().unwrap();
    let (wanted, stamp) = (fs::read(&requirements).unwrap(), home.join("installed.txt"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home).status();
    assert!(made.unwrap().success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements)
        .status();
    assert!(installed.unwrap().success(), "pip could not install {}", requirements.display());
    fs::write(stamp, wanted).unwrap();
    python
}

/// `tests/NAME`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}
