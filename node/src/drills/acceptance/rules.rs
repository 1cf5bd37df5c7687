//! How each kind of figure is judged. Pure.
//!
//! Invariant: a limit that is missed fails, whatever else is not enough; only what is
//! enough passes.

use domain::drills::Verdict as Drilled;

use super::{
    CUSTOMERS_POINTS, Distribution, Figure, Held, Limit, Measured, READS, Rule, Times, Verdict,
    distribution,
};

const HOUR_US: u64 = 3_600_000_000;
const DAY_S: u64 = 86_400;
/// Ten years with their leap days.
const ONLINE_DAYS: u64 = 3_653;
/// 98.5 %.
const COLLECTED_PPM: u64 = 985_000;

/// What a rule found.
pub(super) struct Found {
    /// What was measured, in words.
    pub result: String,
    /// How its times lie.
    pub distributions: Vec<Distribution>,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why it does not pass.
    pub reason: String,
}

impl Found {
    fn new(result: String, (verdict, reason): (Verdict, String)) -> Found {
        Found { result, distributions: Vec::new(), verdict, reason }
    }
}

/// Judges one figure.
pub(super) fn apply(figure: &Figure, measured: &Measured, held: &Held) -> Found {
    match figure.rule {
        Rule::Users => users(held),
        Rule::Online => online(figure, measured, held),
        Rule::Collection => collection(measured, held),
        Rule::Speed => speed(measured, held),
        Rule::Times { limits, least, at_size } => {
            times(figure, limits, least, at_size, measured, held)
        }
        Rule::Drills { limit, least } => drilled(figure, limit, least, measured, held),
    }
}

fn users(held: &Held) -> Found {
    let result = format!("{} meters behind {} concentrators", held.meters, held.concentrators);
    let verdict = match held.meters {
        CUSTOMERS_POINTS.. => (Verdict::Pass, String::new()),
        _ => (Verdict::NotProven, too_small(held)),
    };
    Found::new(result, verdict)
}

fn too_small(held: &Held) -> String {
    format!("measured at {} points; the figure speaks of {CUSTOMERS_POINTS}", held.meters)
}

/// The age of the oldest value, s.
fn age_s(measured: &Measured, held: &Held) -> Option<u64> {
    measured.oldest_s.map(|oldest| u64::try_from(held.now_s - oldest).unwrap_or(0))
}

fn online(figure: &Figure, measured: &Measured, held: &Held) -> Found {
    let Some(age_s) = age_s(measured, held) else {
        let reason = "nothing is stored yet".to_owned();
        return Found::new("no values".to_owned(), (Verdict::NotProven, reason));
    };
    let days = age_s / DAY_S;
    let given = measured.times.get(figure.name).cloned().unwrap_or_default();
    let lies = distribution("query of the oldest day", &given);
    let verdict = if given.failed > 0 {
        (Verdict::Fail, format!("the oldest day was not answered: {}", given.why))
    } else if lies.n > 0 && lies.p99_us >= 10_000_000 {
        (Verdict::Fail, "the oldest day was not answered within 10 s".to_owned())
    } else if days < ONLINE_DAYS || lies.n == 0 {
        let text = format!("the oldest value is {days} days old; the figure needs {ONLINE_DAYS}");
        (Verdict::NotProven, text)
    } else {
        (Verdict::Pass, String::new())
    };
    let result = format!("oldest value {days} days {} h old, read online", age_s % DAY_S / 3_600);
    Found { distributions: vec![lies], ..Found::new(result, verdict) }
}

fn collection(measured: &Measured, held: &Held) -> Found {
    let day = &held.day;
    let Some(ppm) = day.rate_ppm() else {
        let reason = "no interval was due in the last 24 hours".to_owned();
        return Found::new("nothing was due".to_owned(), (Verdict::NotProven, reason));
    };
    let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
    let result = format!(
        "{} of {} interval values of the last 24 h stored: {} (first pass {}); {} of {} meters \
         silent",
        day.stored,
        day.expected,
        percent(ppm),
        day.first_pass_ppm().map_or_else(|| "-".to_owned(), percent),
        day.silent,
        day.meters,
    );
    // The oldest value ends an interval, so a day's first one is up to an hour younger.
    let whole_day = age_s(measured, held).is_some_and(|age| age + 3_600 >= DAY_S);
    let verdict = match (whole_day, ppm >= COLLECTED_PPM) {
        (false, _) => (Verdict::NotProven, "the cluster holds less than a whole day".to_owned()),
        (true, false) => (Verdict::Fail, "less than 98.5 %".to_owned()),
        (true, true) => (Verdict::Pass, String::new()),
    };
    Found::new(result, verdict)
}

fn speed(measured: &Measured, held: &Held) -> Found {
    let Some(speed) = &measured.speed else {
        let reason = "no meter was read".to_owned();
        return Found::new("no reads".to_owned(), (Verdict::NotProven, reason));
    };
    let within = speed.within_us.max(1);
    let tenths = u128::from(speed.reads) * 10_000_000 / u128::from(within);
    let in_an_hour = u128::from(speed.reads) * u128::from(HOUR_US) / u128::from(within);
    let result = format!(
        "{} reads completed and {} failed in {}.{} s: {}.{} a second, {} a minute, {} an hour at \
         this pace; {} under way at a time, {} meters of {}",
        speed.reads,
        speed.failed,
        within / 1_000_000,
        within % 1_000_000 / 100_000,
        tenths / 10,
        tenths % 10,
        in_an_hour / 60,
        in_an_hour,
        speed.beside,
        speed.meters,
        held.meters,
    );
    let verdict = if speed.reads >= READS && within <= HOUR_US {
        (Verdict::Pass, String::new())
    } else if in_an_hour < u128::from(READS) {
        (Verdict::Fail, format!("fewer than {READS} an hour at this pace"))
    } else {
        let text = format!(
            "the pace is enough, but only {} reads were completed: an hour was not measured",
            speed.reads
        );
        (Verdict::NotProven, text)
    };
    Found::new(result, verdict)
}

fn times(
    figure: &Figure,
    limits: &[Limit],
    least: u32,
    at_size: bool,
    measured: &Measured,
    held: &Held,
) -> Found {
    let given = measured.times.get(figure.name).cloned().unwrap_or_default();
    let lies = distribution(figure.of, &given);
    let broken: Vec<String> = limits
        .iter()
        .filter(|limit| lies.n > 0 && !limit.holds(limit.of(&lies)))
        .map(|limit| format!("p{} is {}", limit.percent, seconds(limit.of(&lies))))
        .collect();
    let verdict = if !broken.is_empty() {
        (Verdict::Fail, broken.join(", "))
    } else if given.failed > 0 {
        (Verdict::Fail, format!("{} tries failed: {}", given.failed, given.why))
    } else if lies.n < least {
        (Verdict::NotProven, format!("{} measurements; {least} are needed", lies.n))
    } else if at_size && held.meters < CUSTOMERS_POINTS {
        (Verdict::NotProven, too_small(held))
    } else {
        (Verdict::Pass, String::new())
    };
    let result = match lies.n {
        0 => "not measured".to_owned(),
        _ => format!("p90 {}, p99 {}", seconds(lies.p90_us), seconds(lies.p99_us)),
    };
    Found { distributions: vec![lies], ..Found::new(result, verdict) }
}

/// By the records of the drills that the driver ran, as the log has them.
fn drilled(figure: &Figure, limit: Limit, least: u32, measured: &Measured, held: &Held) -> Found {
    let named = measured.drills.get(figure.name).cloned().unwrap_or_default();
    let mut given = Times::default();
    let (mut lost, mut doubled, mut not_passed) = (0, 0, 0_u32);
    let of = held.drills.iter().filter(|record| named.contains(&record.id));
    for record in of.filter(|record| figure.scenarios.contains(&record.begin.scenario.as_str())) {
        let Some(summary) = &record.summary else { continue };
        lost += summary.lost;
        doubled += summary.doubled;
        not_passed += u32::from(summary.verdict != Drilled::Passed);
        let took_ms = match summary.channel_ms {
            Some(channel) => Some(channel),
            None => summary.write_ms.zip(summary.read_ms).map(|(write, read)| write.max(read)),
        };
        match took_ms {
            Some(ms) => given.took_us.push(u64::from(ms) * 1_000),
            None => given.failed += 1,
        }
    }
    let lies = distribution(figure.of, &given);
    let verdict = if lies.n > 0 && !limit.holds(lies.max_us) {
        (Verdict::Fail, format!("one took {}", seconds(lies.max_us)))
    } else if given.failed > 0 || lost > 0 || doubled > 0 || not_passed > 0 {
        let text = format!("{not_passed} drills did not pass, {lost} writes lost, {doubled} twice");
        (Verdict::Fail, text)
    } else if lies.n < least {
        (Verdict::NotProven, format!("{} of {least} trials", lies.n))
    } else {
        (Verdict::Pass, String::new())
    };
    let result = match lies.n {
        0 => "not drilled".to_owned(),
        n => format!(
            "{n} trials, slowest {}; {lost} acknowledged writes lost, {doubled} applied twice",
            seconds(lies.max_us)
        ),
    };
    Found { distributions: vec![lies], ..Found::new(result, verdict) }
}

/// Microseconds as `0.123 s`.
fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1_000)
}
