//! A load curve as SVG, drawn on the server: mean power of every interval from two register values.
//!
//! Invariants: at most [`MAX_POINTS`] steps are drawn, as minimum and maximum of each pixel column
//! when there are more; a missing value is a gap, never a line across; the picture carries a label,
//! and the same numbers stand in the table below it.

use storage::segment::Point;

use crate::texts::{Language, escaped};

/// The most points of one line.
const MAX_POINTS: usize = 2_000;

const WIDTH: f64 = 1160.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 78.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;

/// Mean powers in watts by interval end.
pub type Powers = Vec<(i64, f64)>;

/// What is drawn.
pub struct Curves {
    /// Seconds of an interval.
    pub step_s: i64,
    /// Import.
    pub import: Powers,
    /// Export; empty when there is none.
    pub export: Powers,
}

/// Mean power of every interval whose register is known at both ends:
/// `(value[i] - value[i-1]) * 10^scaler Wh * 3600 / step`.
pub fn powers(points: &[Point], scaler: i8, step_s: i64) -> Powers {
    let factor = 10f64.powi(i32::from(scaler)) * 3600.0 / step_s as f64;
    let firsts: Vec<&Point> = points.iter().filter(|point| !point.beside).collect();
    firsts
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] if after.end_s - before.end_s == step_s => {
                let step = after.value.checked_sub(before.value)?;
                // A register that fell was exchanged or reset: no power is known.
                (step >= 0).then_some((after.end_s, step as f64 * factor))
            }
            _ => None,
        })
        .collect()
}

/// The picture; `None` when there is nothing to draw.
pub fn svg(curves: &Curves, serial: &str, t: Language) -> Option<String> {
    let import = thinned(&curves.import);
    let export = thinned(&curves.export);
    let all = || curves.import.iter().chain(&curves.export);
    let first_s = all().map(|(end_s, _)| *end_s).min()? - curves.step_s;
    let last_s = all().map(|(end_s, _)| *end_s).max()?;
    let top = nice(all().map(|(_, watts)| *watts).fold(1.0, f64::max));
    let scale = Scale { first_s, span_s: (last_s - first_s).max(1) as f64, top };
    let peak = curves.import.iter().map(|(_, watts)| *watts).fold(0.0, f64::max);
    let label = t
        .say("curve.label")
        .with("serial", serial)
        .with("from", crate::areas::time::rfc3339(first_s))
        .with("to", crate::areas::time::rfc3339(last_s))
        .with("peak", peak.round());
    let mut out = format!(
        "<div class=\"chart\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><svg \
         class=\"curve\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(&t.say("curve.title").to_string()),
        escaped(&label.to_string())
    );
    out.push_str(&scale.grid(t));
    let gap_s = gap(&curves.import, &import, curves.step_s);
    out.push_str(&format!("<path class=\"area\" d=\"{}\"/>", scale.path(&import, gap_s, true)));
    out.push_str(&format!("<path class=\"line\" d=\"{}\"/>", scale.path(&import, gap_s, false)));
    if curves.export.iter().any(|(_, watts)| *watts > 0.0) {
        let gap_s = gap(&curves.export, &export, curves.step_s);
        let path = scale.path(&export, gap_s, false);
        out.push_str(&format!("<path class=\"export\" d=\"{path}\"/>"));
        out.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - 8.0,
            TOP + 12.0,
            escaped(&t.say("curve.legend").to_string())
        ));
    }
    out.push_str("</svg></div>");
    Some(out)
}

/// Longer silences than this are gaps; thinned points stand further apart.
fn gap(all: &Powers, thin: &Powers, step_s: i64) -> i64 {
    let factor = (all.len() / thin.len().max(1)).max(1);
    step_s * i64::try_from(factor).unwrap_or(1) * 2 - 1
}

/// Minimum and maximum of equal runs of points, in their order of time.
fn thinned(powers: &Powers) -> Powers {
    if powers.len() <= MAX_POINTS {
        return powers.clone();
    }
    let run = powers.len().div_ceil(MAX_POINTS / 2);
    let mut out = Vec::with_capacity(MAX_POINTS);
    for chunk in powers.chunks(run) {
        let low = chunk.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = chunk.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (Some(low), Some(high)) = (low, high) else { continue };
        let (early, late) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        out.push(*early);
        if late.0 != early.0 {
            out.push(*late);
        }
    }
    out
}

/// The next of 1, 2, 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let base = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * base).find(|top| *top >= value).unwrap_or(value)
}

struct Scale {
    first_s: i64,
    span_s: f64,
    top: f64,
}

impl Scale {
    fn x(&self, end_s: i64) -> f64 {
        LEFT + (end_s - self.first_s) as f64 / self.span_s * (WIDTH - LEFT - 8.0)
    }

    fn y(&self, watts: f64) -> f64 {
        let room = HEIGHT - TOP - BOTTOM;
        TOP + room - watts / self.top * room
    }

    /// Lines and labels: five powers, and whole hours that are far enough apart to be read.
    fn grid(&self, t: Language) -> String {
        let mut out = String::new();
        for part in 0..=4 {
            let watts = self.top * f64::from(part) / 4.0;
            let y = self.y(watts);
            let label = if self.top >= 4000.0 {
                format!("{} kW", watts / 1000.0)
            } else {
                format!("{watts} W")
            };
            let label = t.decimal(&label);
            out.push_str(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - 8.0,
                LEFT - 8.0,
                y + 4.0
            ));
        }
        let hours = [1, 2, 3, 6, 12, 24, 48, 96];
        let wanted = self.span_s / 3600.0 / 9.0;
        let step_h = hours.iter().find(|h| f64::from(**h) >= wanted).copied().unwrap_or(168);
        let step_s = i64::from(step_h) * 3600;
        let mut at = self.first_s.div_euclid(step_s) * step_s + step_s;
        let end_s = self.first_s + self.span_s as i64;
        while at <= end_s {
            let text = crate::areas::time::rfc3339(at);
            let label = match (text.get(5..10), text.get(11..16)) {
                (Some(day), Some("00:00")) => day.to_string(),
                (_, Some(clock)) => clock.to_string(),
                _ => String::new(),
            };
            out.push_str(&format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                self.x(at).clamp(LEFT + 16.0, WIDTH - 24.0),
                HEIGHT - 8.0
            ));
            at += step_s;
        }
        out
    }

    /// A line through the points, broken at gaps; closed down to zero for an area.
    fn path(&self, powers: &Powers, gap_s: i64, area: bool) -> String {
        let mut out = String::new();
        let mut last: Option<i64> = None;
        let floor = self.y(0.0);
        for (end_s, watts) in powers {
            let (x, y) = (self.x(*end_s), self.y(*watts));
            let joined = last.is_some_and(|last| end_s - last <= gap_s);
            if !joined {
                if let (true, Some(last)) = (area, last) {
                    out.push_str(&format!("L{:.1} {floor:.1}Z", self.x(last)));
                }
                if area {
                    out.push_str(&format!("M{x:.1} {floor:.1}L{x:.1} {y:.1}"));
                } else {
                    out.push_str(&format!("M{x:.1} {y:.1}"));
                }
            } else {
                out.push_str(&format!("L{x:.1} {y:.1}"));
            }
            last = Some(*end_s);
        }
        if let (true, Some(last)) = (area, last) {
            out.push_str(&format!("L{:.1} {floor:.1}Z", self.x(last)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(end_s: i64, value: i64) -> Point {
        Point { end_s, value, flag: 0, beside: false }
    }

    #[test]
    fn power_is_energy_by_time() {
        let points = [point(900, 100), point(1800, 350), point(3600, 400), point(4500, 300)];
        // 250 Wh in a quarter of an hour is 1 kW; the hole and the fallen register give nothing.
        assert_eq!(powers(&points, 0, 900), [(1800, 1000.0)]);
        assert_eq!(powers(&points, -1, 900), [(1800, 100.0)]);
    }

    #[test]
    fn long_curves_keep_their_peaks() {
        let mut long: Powers = (0..50_000).map(|n| (n * 900, 1.0)).collect();
        long[31_415].1 = 77.0;
        let thin = thinned(&long);
        assert!(thin.len() <= MAX_POINTS);
        assert!(thin.contains(&(31_415 * 900, 77.0)));
        assert!(thin.is_sorted_by_key(|(end_s, _)| *end_s));
    }

    #[test]
    fn pictures_have_a_label_and_break_at_gaps() {
        let curves = Curves {
            step_s: 900,
            import: vec![(900, 10.0), (1800, 20.0), (9000, 5.0)],
            export: Vec::new(),
        };
        let text = svg(&curves, "M1", Language::English).expect("something to draw");
        assert!(text.contains("role=\"img\"") && text.contains("aria-label="));
        let line = text.split("class=\"line\"").nth(1).expect("a line");
        let line = line.split('/').next().expect("its path");
        assert_eq!(line.matches('M').count(), 2, "{line}");
        let none = Curves { step_s: 900, import: vec![], export: vec![] };
        assert!(svg(&none, "M1", Language::English).is_none());
    }

    #[test]
    fn scales_are_round() {
        for (value, expect) in [(1.0, 1.0), (3.0, 5.0), (730.0, 1000.0), (1200.0, 2000.0)] {
            assert_eq!(nice(value), expect);
        }
    }
}
