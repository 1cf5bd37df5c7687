//! `holdfast dictionary`: the codes that answers use, with their words in a language.

use clap::Args;
use serde_json::Value;

use super::ClusterArgs;
use super::client::Api;
use super::output::{field, table};
use super::verbs::rows;
use crate::areas::pages::encode;
use crate::exit::Failure;

/// What is to be shown.
#[derive(Args)]
pub struct DictionaryArgs {
    /// Which; all names when left out.
    pub name: Option<String>,
    /// en, es, ru or zh.
    #[arg(long, default_value = "en")]
    pub language: String,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Does what `holdfast dictionary` says.
pub async fn dictionary(args: &DictionaryArgs) -> Result<(), Failure> {
    let api = Api::of(&args.cluster)?;
    let path = match &args.name {
        Some(name) => format!("/api/v1/dictionaries/{}", encode(name)),
        None => "/api/v1/dictionaries".to_owned(),
    };
    let body: Value = api.get(&path).await?;
    if args.cluster.json {
        println!("{body}");
    } else if args.name.is_some() {
        let row = |one: &Value| {
            vec![field(one, &["code"]), field(one, &["words", args.language.as_str()])]
        };
        table(&["CODE", "WORDS"], &rows(&body["items"], row));
    } else {
        let row = |one: &Value| vec![field(one, &["name"]), field(one, &["codes"])];
        table(&["DICTIONARY", "CODES"], &rows(&body["items"], row));
    }
    Ok(())
}
