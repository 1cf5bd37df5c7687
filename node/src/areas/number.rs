//! Exact decimal numbers: `value * 10^scaler` without floats, and the names of units.

/// `value * 10^scaler` as a JSON number, exact: `12345, -2` is `123.45`.
pub fn decimal(value: impl Into<i128>, scaler: i8) -> String {
    let value = value.into();
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    let places = usize::from(scaler.unsigned_abs());
    if scaler >= 0 {
        let zeros = if value == 0 { 0 } else { places };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// The unit's sign (IEC 62056-6-2, table of units), or its number when it has none here.
pub fn unit(code: u8) -> String {
    let known = match code {
        27 => "W",
        28 => "VA",
        29 => "var",
        30 => "Wh",
        31 => "VAh",
        32 => "varh",
        33 => "A",
        35 => "V",
        44 => "Hz",
        7 => "s",
        8 => "°",
        9 => "°C",
        13 | 14 => "m³",
        255 => "",
        _ => return format!("unit {code}"),
    };
    known.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (value, scaler, expect) in [
            (12345, 0, "12345"),
            (12345, 3, "12345000"),
            (12345, -2, "123.45"),
            (5, -3, "0.005"),
            (-5, -1, "-0.5"),
            (0, -2, "0.00"),
            (0, 2, "0"),
            (i64::MIN, -1, "-922337203685477580.8"),
        ] {
            assert_eq!(decimal(value, scaler), expect);
        }
    }
}
