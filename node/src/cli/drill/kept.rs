//! `holdfast drill report` and `drill abort`: what is kept, and an end before its time.

use serde_json::{Value, json};

use super::{ReportArgs, print, undo};
use crate::areas::drills::page;
use crate::cli::client::Api;
use crate::cli::output::field;
use crate::drills::report::Report;
use crate::exit::Failure;

pub(super) async fn report(api: &Api, args: &ReportArgs) -> Result<(), Failure> {
    let id = match args.id {
        Some(id) => id,
        None => newest(api).await?,
    };
    let body = api.get(&format!("/api/v1/drills/{id}")).await?;
    if !args.html {
        print::report(&body, args.cluster.json);
        return Ok(());
    }
    if body["report"].is_null() {
        return Err(Failure::failed("no_report", format!("drill {id} has no report")));
    }
    let (report, seal) = sealed(&body)?;
    let html = page::standalone(&report, seal).map_err(|error| Failure::failed("failed", error))?;
    println!("{html}");
    Ok(())
}

/// The report of an answer, with its seal.
pub fn sealed(body: &Value) -> Result<(Report, page::Seal), Failure> {
    let report: Report = serde_json::from_value(body["report"].clone())
        .map_err(|error| Failure::failed("bad_answer", error))?;
    let seal = page::Seal {
        seal: field(body, &["seal"]),
        holds: body["seal_holds"] == true,
        judge: field(body, &["judge"]),
    };
    Ok((report, seal))
}

async fn newest(api: &Api) -> Result<u64, Failure> {
    let body = api.get("/api/v1/drills").await?;
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = items.iter().find(|item| item["verdict"].is_string());
    let id = found.and_then(|item| item["id"].as_u64());
    id.ok_or_else(|| Failure::failed("no_report", "no drill has a report"))
}

pub(super) async fn abort(api: &Api, why: &str, is_json: bool) -> Result<(), Failure> {
    let body = api.get("/api/v1/drills").await?;
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let open = items.iter().find(|item| item["state"] == "open");
    let Some((open, id)) = open.and_then(|open| Some((open, open["id"].as_u64()?))) else {
        return Err(Failure::failed("no_drill", "no drill is under way"));
    };
    let members = api.get("/api/v1/cluster").await?;
    let nodes = members["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let target = nodes.iter().find(|node| node["name"] == open["target"]);
    undo(target.map(|node| api.at(&field(node, &["url"]))).as_ref(), id).await;
    let ended = api.post(&format!("/api/v1/drills/{id}/abort"), &json!({ "why": why })).await?;
    if is_json {
        println!("{ended}");
    } else {
        println!("drill {id} ({}) is ended", field(open, &["scenario"]));
    }
    Ok(())
}
