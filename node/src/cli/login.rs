//! `holdfast login`, `logout` and `whoami`: sessions of people at a terminal.
//!
//! Invariants: a password comes from a file, a pipe, or a terminal that does not show it, never
//! from an argument; a token goes to a file of its owner alone, or to standard output.

use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, text};
use crate::exit::Failure;

/// What `login` takes.
#[derive(Args)]
pub struct LoginArgs {
    /// The operator's name.
    pub user: String,
    /// A file that holds the password; asked for when left out.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The code of the second factor.
    #[arg(long)]
    pub code: Option<String>,
    /// Where the session's token goes, for --token-file; printed when left out.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Logs in.
pub async fn login(args: &LoginArgs) -> Result<(), Failure> {
    let password = secret(args.password_file.as_deref(), "Password: ")?;
    let body = json!({
        "user": args.user,
        "password": password.as_str(),
        "code": args.code.clone().unwrap_or_default(),
    });
    let session = Api::of(&args.cluster)?.post("/api/v1/session", &body).await?;
    if session["set_up_needed"] == true {
        eprintln!("This account is not set up: see `holdfast whoami`, then `holdfast passwd`.");
    }
    match &args.save {
        Some(path) => {
            save(path, &field(&session, &["token"]))?;
            println!("{} until {}", field(&session, &["user"]), field(&session, &["expires"]));
        }
        None if args.cluster.json => println!("{session}"),
        None => println!("{}", field(&session, &["token"])),
    }
    Ok(())
}

/// Ends the session whose token is given.
pub async fn logout(args: &ClusterArgs) -> Result<(), Failure> {
    Api::of(args)?.delete("/api/v1/session").await.map(drop)
}

/// Shows who is logged in and what he may do.
pub async fn whoami(args: &ClusterArgs) -> Result<(), Failure> {
    let me = Api::of(args)?.get("/api/v1/session").await?;
    if args.json {
        println!("{me}");
        return Ok(());
    }
    println!("{}", field(&me, &["user"]));
    for role in me["roles"].as_array().into_iter().flatten() {
        println!("  {} in {}", field(role, &["role"]), field(role, &["region_name"]));
    }
    let may: Vec<String> = me["permissions"].as_array().into_iter().flatten().map(text).collect();
    println!("  may {}", if may.is_empty() { "nothing".to_owned() } else { may.join(", ") });
    if me["must_change_password"] == true {
        println!("  has to change the password first: holdfast passwd");
    }
    Ok(())
}

/// What `passwd` takes.
#[derive(Args)]
pub struct PasswdArgs {
    /// A file that holds the password until now; asked for when left out.
    #[arg(long, value_name = "FILE")]
    pub old_file: Option<PathBuf>,
    /// A file that holds the new one; asked for when left out.
    #[arg(long, value_name = "FILE")]
    pub new_file: Option<PathBuf>,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Changes one's own password.
pub async fn passwd(args: &PasswdArgs) -> Result<(), Failure> {
    let old = secret(args.old_file.as_deref(), "Password until now: ")?;
    let new = secret(args.new_file.as_deref(), "New password, 12 letters or more: ")?;
    if args.new_file.is_none() && std::io::stdin().is_terminal() {
        let again = secret(None, "The new password again: ")?;
        if *again != *new {
            return Err(Failure::usage("the two new passwords differ"));
        }
    }
    let body = json!({"old": old.as_str(), "new": new.as_str()});
    Api::of(&args.cluster)?.post("/api/v1/session/password", &body).await.map(drop)
}

/// A secret of a file, of a pipe, or of a terminal without an echo.
fn secret(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::file("cannot read the password", path, &error))?;
        return Ok(Zeroizing::new(Zeroizing::new(text).trim_end_matches(['\r', '\n']).to_owned()));
    }
    let stdin = std::io::stdin();
    let failed = |error: &dyn std::fmt::Display| Failure::failed("no_password", error.to_string());
    let before = if stdin.is_terminal() {
        eprint!("{prompt}");
        std::io::stderr().flush().map_err(|error| failed(&error))?;
        let before = tcgetattr(&stdin).map_err(|error| failed(&error))?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet).map_err(|error| failed(&error))?;
        Some(before)
    } else {
        None
    };
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    if let Some(before) = before {
        tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(|error| failed(&error))?;
        eprintln!();
    }
    read.map_err(|error| failed(&error))?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Writes a token where only its owner reads it.
fn save(path: &Path, token: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("cannot save the token", path, &error);
    // A file that others read already would stay so: a new one is made.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    writeln!(file, "{token}").map_err(failed)
}
