//! What is late or refused closes with its cause.

use std::time::Duration;

use super::{Bench, Mood, admission, check, config, granted};
use crate::concentrator::Answer;
use crate::error::Denied;
use crate::upcall::Admission;

#[test]
fn what_is_late_or_refused_closes() {
    check(&[
        ("no identity", Bench::new, |b| b.wait(Duration::from_millis(999)), &[]),
        (
            "identity late",
            Bench::new,
            |b| b.wait(Duration::from_secs(1)),
            &["closed identity_late"],
        ),
        (
            "the cluster does not admit in time",
            Bench::new,
            |b| {
                b.identify();
                b.wait(Duration::from_secs(5))
            },
            &["closed login_late"],
        ),
        (
            "a replayed identity",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Ok(admission(10)))
            },
            &["closed replayed"],
        ),
        (
            "nobody knows it",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Err(Denied::refused("unknown_concentrator")))
            },
            &["closed not_admitted"],
        ),
        (
            "another's name",
            Bench::new,
            |b| {
                b.identify();
                b.admit(Ok(Admission { concentrator: "OTHER".to_owned(), ..admission(0) }))
            },
            &["closed identity_mismatch"],
        ),
        ("the activation waits", Bench::activating, |b| b.wait(Duration::from_secs(19)), &[]),
        (
            "the activation's answer is late",
            Bench::activating,
            |b| b.wait(Duration::from_secs(20)),
            &["release 1", "closed answer_late"],
        ),
        (
            "the concentrator refuses the activation",
            Bench::claiming,
            |b| {
                b.mood = Mood::Refuses;
                b.claimed(granted(1));
                b.reserve()
            },
            &["release 1", "closed activation_refused"],
        ),
        (
            "an acknowledgement's answer is late",
            Bench::active,
            |b| {
                b.push(5, &["M1"]);
                b.mood = Mood::Silent;
                assert_eq!(b.stored(Ok(1)), ["acknowledged 5"]);
                b.wait(Duration::from_secs(20))
            },
            &["release 1", "closed answer_late"],
        ),
        (
            "a silent standby",
            Bench::standby,
            |b| b.wait(config().silence()),
            &["standby false", "closed silent"],
        ),
        (
            "an answer of an earlier state",
            Bench::standby,
            |b| b.tell(Answer::Claimed { ticket: 3, answer: granted(9) }),
            &[],
        ),
    ]);
}
