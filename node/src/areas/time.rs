//! Times as the API writes and reads them: RFC 3339, UTC out, any offset in.

use std::time::SystemTime;

use domain::Stamp;
use jiff::Timestamp;

use crate::http::problem::Problem;

/// Seconds since the Unix epoch as RFC 3339 in UTC.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "invalid".to_string(), |at| at.to_string())
}

/// A stamp as RFC 3339 in UTC, with its microseconds.
pub fn stamp(stamp: Stamp) -> String {
    let micros = i64::try_from(stamp.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).map_or_else(|_| "invalid".to_string(), |at| at.to_string())
}

/// A reading of the machine's clock as RFC 3339 in UTC.
pub fn of_system(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "invalid".to_string(), |at| at.to_string())
}

/// Reads RFC 3339 or whole Unix seconds; `what` names the parameter in the problem.
pub fn parse(what: &str, text: &str) -> Result<i64, Problem> {
    // A `+` of an offset that was not escaped in a query string arrives as a space.
    let repaired = text.replace(' ', "+");
    text.parse::<i64>()
        .ok()
        .or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_second))
        .or_else(|| repaired.parse::<Timestamp>().ok().map(Timestamp::as_second))
        .ok_or_else(|| Problem::bad("bad_time", format!("{what}: {text:?} is not RFC 3339")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_both_ways() {
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        for text in ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "1700000000"] {
            assert_eq!(parse("t", text).expect(text), 1_700_000_000);
        }
        assert_eq!(parse("t", "2023-11-14T23:13:20 01:00").expect("repaired"), 1_700_000_000);
        assert_eq!(parse("t", "soon").expect_err("no time").code, "bad_time");
    }
}
