//! The panels of the dashboards.

use docs::files;
use serde_json::Value;

/// Every query of every panel, with where it stands.
pub fn queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files(".json").iter().filter(|file| file.path.starts_with("deploy/grafana/")) {
        let page: Value = serde_json::from_str(&file.text).unwrap();
        for panel in page["panels"].as_array().unwrap() {
            let place = format!("{}: {}", file.path, panel["title"].as_str().unwrap());
            for target in panel["targets"].as_array().unwrap() {
                found.push((place.clone(), target["expr"].as_str().unwrap().to_owned()));
            }
        }
    }
    assert!(found.len() > 80, "only {} queries found: the search is broken", found.len());
    found
}
