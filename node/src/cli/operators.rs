//! `holdfast operator`: people and programs, their roles, passwords and tokens.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Api;
use super::output::{field, table, text};
use super::verbs::{fetch, print_list, rows};
use super::{ClusterArgs, ListArgs};
use crate::areas::pages::encode;
use crate::exit::Failure;

/// Verbs of operators.
#[derive(Subcommand)]
pub enum OperatorCommand {
    /// List those that you keep.
    List {
        /// How the list is cut.
        #[command(flatten)]
        list: ListArgs,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show one with everything that was granted, and the sessions.
    Show {
        /// The name to log in with.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Register somebody and make a password for the first login.
    Add {
        /// The name to log in with.
        name: String,
        /// Name of the person or program.
        #[arg(long)]
        full_name: String,
        /// Number of the region whose staff it is; 0: the whole utility.
        #[arg(long, default_value_t = 0)]
        home: u32,
        /// Language of texts: en, es, ru or zh.
        #[arg(long, default_value = "en")]
        language: String,
        /// A program: it gets tokens and no password.
        #[arg(long)]
        program: bool,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// A leaver: sessions, tokens and rights end at once, everywhere.
    End {
        /// The name to log in with.
        name: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Forget wrong logins.
    Unlock {
        /// The name to log in with.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Make a password for the next login; it is shown once and has to be changed.
    ResetPassword {
        /// The name to log in with.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Take the second factor away.
    RemoveFactor {
        /// The name to log in with.
        name: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Make a token for a program; it is shown once.
    Token {
        /// The program's name.
        name: String,
        /// What it is for.
        #[arg(long)]
        label: String,
        /// Days until it ends.
        #[arg(long, default_value_t = 365)]
        days: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Grant a role in a region and all below it.
    Grant {
        /// To whom.
        name: String,
        /// The role, see docs/reference/roles.md.
        role: String,
        /// Number of the region; 0: the whole utility.
        #[arg(long, default_value_t = 0)]
        region: u32,
        /// From when on (RFC 3339); at once when left out.
        #[arg(long)]
        from: Option<String>,
        /// Until when (RFC 3339); for good when left out.
        #[arg(long)]
        until: Option<String>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say yes to a grant as the second person.
    Approve {
        /// Whose grant.
        name: String,
        /// Its number, see `operator show`.
        grant: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Say no to a grant as the second person.
    Decline {
        /// Whose grant.
        name: String,
        /// Its number, see `operator show`.
        grant: u32,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// End a grant now.
    Revoke {
        /// Whose grant.
        name: String,
        /// Its number, see `operator show`.
        grant: u32,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// How to reach the cluster.
        #[command(flatten)]
        cluster: ClusterArgs,
    },
}

impl OperatorCommand {
    /// How to reach the cluster.
    pub fn cluster(&self) -> &ClusterArgs {
        match self {
            Self::List { cluster, .. }
            | Self::Show { cluster, .. }
            | Self::Add { cluster, .. }
            | Self::End { cluster, .. }
            | Self::Unlock { cluster, .. }
            | Self::ResetPassword { cluster, .. }
            | Self::RemoveFactor { cluster, .. }
            | Self::Token { cluster, .. }
            | Self::Grant { cluster, .. }
            | Self::Approve { cluster, .. }
            | Self::Decline { cluster, .. }
            | Self::Revoke { cluster, .. } => cluster,
        }
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/api/v1/operators/{}{rest}", encode(name))
}

/// Does what `holdfast operator` says.
pub async fn operator(verb: OperatorCommand) -> Result<(), Failure> {
    let cluster = verb.cluster().clone();
    let api = Api::of(&cluster)?;
    match verb {
        OperatorCommand::List { list, .. } => {
            let items = fetch("/api/v1/operators?", &list, &cluster).await?;
            let head = ["NAME", "FULL NAME", "STAFF OF", "STATE", "ROLES", "WAITING"];
            print_list(&items, cluster.json, &head, |one| {
                let get = |name: &str| field(one, &[name]);
                let roles = one["roles"].as_array().into_iter().flatten().map(text);
                let roles = roles.collect::<Vec<_>>().join(", ");
                let (name, full) = (get("name"), get("full_name"));
                vec![name, full, get("home_name"), get("state"), roles, get("waiting")]
            });
        }
        OperatorCommand::Show { name, .. } => {
            show(&api.get(&path(&name, "")).await?, cluster.json);
        }
        OperatorCommand::Add { name, full_name, home, language, program, .. } => {
            let body = json!({
                "name": name,
                "full_name": full_name,
                "home": home,
                "language": language,
                "program": program,
            });
            let made = api.post("/api/v1/operators", &body).await?;
            if program {
                show(&made, cluster.json);
            } else {
                password(&api, &name, cluster.json).await?;
            }
        }
        OperatorCommand::End { name, reason, .. } => {
            let ended = api.post(&path(&name, "/end"), &json!({"reason": reason})).await?;
            show(&ended, cluster.json);
        }
        OperatorCommand::Unlock { name, .. } => {
            show(&api.post(&path(&name, "/unlock"), &Value::Null).await?, cluster.json);
        }
        OperatorCommand::ResetPassword { name, .. } => {
            password(&api, &name, cluster.json).await?;
        }
        OperatorCommand::RemoveFactor { name, .. } => {
            show(&api.delete(&path(&name, "/factor")).await?, cluster.json);
        }
        OperatorCommand::Token { name, label, days, .. } => {
            let body = json!({"label": label, "days": days});
            let made = api.post(&path(&name, "/tokens"), &body).await?;
            if cluster.json {
                println!("{made}");
            } else {
                println!("{}", field(&made, &["token"]));
                eprintln!("It is shown only now, and ends {}.", field(&made, &["expires"]));
            }
        }
        OperatorCommand::Grant { name, role, region, from, until, reason, .. } => {
            let body = json!({
                "role": role,
                "region": region,
                "from": from,
                "until": until,
                "reason": reason,
            });
            let made = api.post(&path(&name, "/grants"), &body).await?;
            granted(&name, &made, cluster.json);
        }
        OperatorCommand::Approve { name, grant, .. } => {
            api.post(&path(&name, &format!("/grants/{grant}/approve")), &Value::Null).await?;
        }
        OperatorCommand::Decline { name, grant, .. } => {
            api.post(&path(&name, &format!("/grants/{grant}/decline")), &Value::Null).await?;
        }
        OperatorCommand::Revoke { name, grant, reason, .. } => {
            let body = json!({"reason": reason});
            api.post(&path(&name, &format!("/grants/{grant}/revoke")), &body).await?;
        }
    }
    Ok(())
}

async fn password(api: &Api, name: &str, json: bool) -> Result<(), Failure> {
    let made = api.post(&path(name, "/password"), &Value::Null).await?;
    if json {
        println!("{made}");
    } else {
        println!("{}", field(&made, &["password"]));
        eprintln!("It is shown only now, and has to be changed at the first login.");
    }
    Ok(())
}

fn granted(name: &str, made: &Value, json: bool) {
    if json {
        println!("{made}");
        return;
    }
    let grant = field(made, &["grant"]);
    if made["waits"] == true {
        println!(
            "Grant {grant} waits for a second person: holdfast operator approve {name} {grant}"
        );
    } else {
        println!("Grant {grant} counts.");
    }
}

fn show(one: &Value, json: bool) {
    if json {
        println!("{one}");
        return;
    }
    let get = |name: &str| field(one, &[name]);
    println!(
        "{} ({}), staff of {}: {}",
        get("name"),
        get("full_name"),
        get("home_name"),
        get("state")
    );
    println!("second factor {}, last login {}", get("second_factor"), get("last_login"));
    let grants = rows(&one["grants"], |grant| {
        ["id", "role", "region_name", "state", "from", "until", "by", "judged_by", "reason"]
            .map(|name| field(grant, &[name]))
            .to_vec()
    });
    table(
        &["GRANT", "ROLE", "REGION", "STATE", "FROM", "UNTIL", "BY", "SECOND", "REASON"],
        &grants,
    );
    let sessions = rows(&one["sessions"], |session| {
        ["kind", "label", "begun", "used", "expires"].map(|name| field(session, &[name])).to_vec()
    });
    if !sessions.is_empty() {
        table(&["SESSION", "FROM OR FOR", "BEGUN", "USED", "EXPIRES"], &sessions);
    }
}
