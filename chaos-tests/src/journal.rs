//! The simulator's journal of acknowledged pushes, held against what the nodes answer.
//!
//! A line stands in the journal when a concentrator was told that its push is stored. So every
//! value of every line must be in the cluster, once, on every node: that is the promise "nothing
//! acknowledged is lost, nothing is done twice".

use crate::http::Http;
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A+ and A- in Wh, as the meter delivered them; `None` where it had no value.
pub type Values = (Option<i64>, Option<i64>);

/// Acknowledged rows by meter and interval end (seconds, UTC).
#[derive(Debug, Default)]
pub struct Journal {
    rows: BTreeMap<String, BTreeMap<i64, Values>>,
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged values that were looked for.
    pub acknowledged: u64,
    /// Of them, those that the node does not have.
    pub missing: u64,
    /// Of them, those that the node has with another number.
    pub different: u64,
    /// Values that stand twice for one interval end.
    pub doubled: u64,
}

impl Verdict {
    /// Whether the promise held.
    pub fn clean(&self) -> bool {
        self.missing == 0 && self.different == 0 && self.doubled == 0
    }
}

impl Journal {
    /// Reads a journal. A last line that a killed simulator left half written is not an
    /// acknowledgement and is passed over.
    ///
    /// # Errors
    /// The file cannot be read, or a line before the last is damaged, or two lines disagree on a
    /// value.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut journal = Self::default();
        let mut lines = text.split_inclusive('\n').peekable();
        while let Some(line) = lines.next() {
            let parsed: Value = match serde_json::from_str(line) {
                Ok(parsed) => parsed,
                Err(_) if lines.peek().is_none() => break,
                Err(fault) => bail!("{}: {fault}: {line}", path.display()),
            };
            for row in parsed["rows"].as_array().context("a line without rows")? {
                journal.add(row)?;
            }
        }
        Ok(journal)
    }

    fn add(&mut self, row: &Value) -> anyhow::Result<()> {
        let serial = row[0].as_str().context("serial")?.to_owned();
        let end = row[1].as_i64().context("end")?;
        let values = (row[3].as_i64(), row[4].as_i64());
        let known = self.rows.entry(serial.clone()).or_default().insert(end, values);
        match known {
            Some(known) if known != values => {
                bail!(
                    "the simulator pushed two values for {serial} at {end}: {known:?}, {values:?}"
                )
            }
            _ => Ok(()),
        }
    }

    /// Number of acknowledged rows.
    pub fn rows(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum()
    }

    /// Asks one node for everything that was acknowledged.
    ///
    /// # Errors
    /// The node does not answer, or answers something else than values.
    pub async fn compare(&self, http: &Http, url: &str) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        for (serial, rows) in &self.rows {
            for (obis, pick) in [("1-0:1.8.0", 0), ("1-0:2.8.0", 1)] {
                let stored = stored(http, url, serial, obis, rows).await?;
                for (end, values) in rows {
                    let wanted = if pick == 0 { values.0 } else { values.1 };
                    let Some(wanted) = wanted else { continue };
                    verdict.acknowledged += 1;
                    match stored.get(end).map(Vec::as_slice) {
                        None | Some([]) => verdict.missing += 1,
                        Some([only]) if *only == wanted => {}
                        Some([_]) => verdict.different += 1,
                        Some(_) => verdict.doubled += 1,
                    }
                }
            }
        }
        Ok(verdict)
    }
}

/// Everything a node has of one register between the first and the last acknowledged interval, by
/// interval end.
async fn stored(
    http: &Http,
    url: &str,
    serial: &str,
    obis: &str,
    rows: &BTreeMap<i64, Values>,
) -> anyhow::Result<BTreeMap<i64, Vec<i64>>> {
    let (Some(first), Some(last)) = (rows.keys().next(), rows.keys().last()) else {
        return Ok(BTreeMap::new());
    };
    let (from, to, mut cursor) = (rfc3339(first - 1)?, rfc3339(*last)?, String::new());
    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    loop {
        let query = format!("obis={obis}&from={from}&to={to}{cursor}");
        let page = http.get(&format!("{url}/api/v1/meters/{serial}/readings?{query}")).await?;
        for reading in page["values"].as_array().context("values")? {
            let time: jiff::Timestamp = reading["time"].as_str().context("time")?.parse()?;
            let value = watt_hours(reading).with_context(|| reading.to_string())?;
            found.entry(time.as_second()).or_default().push(value);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

fn watt_hours(reading: &Value) -> Option<i64> {
    (reading["unit"] == "Wh").then(|| reading["value"].as_i64()).flatten()
}

fn rfc3339(second: i64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_second(second)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::Journal;

    fn journal(text: &str) -> anyhow::Result<Journal> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Journal::read(file.path())
    }

    #[test]
    fn a_torn_last_line_is_no_acknowledgement() {
        let line = r#"{"concentrator":"C","sequence":1,"rows":[["M",900,0,5,null]]}"#;
        let torn = format!("{line}\n{}", &line[..30]);
        assert_eq!(journal(&torn).unwrap().rows(), 1);
        assert!(journal(&format!("{}\n{line}\n", &line[..30])).is_err());
    }

    #[test]
    fn a_simulator_that_changes_its_mind_is_no_witness() {
        let lines = r#"{"rows":[["M",900,0,5,null]]}
{"rows":[["M",900,0,6,null]]}
"#;
        assert!(journal(lines).is_err());
    }
}
