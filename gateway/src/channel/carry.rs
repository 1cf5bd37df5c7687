//! A question of a channel on its way to the cluster and its answer back, in its turn.
//!
//! Invariant: what a login or a lease asks goes through the doorway; what a standing channel asks
//! is bounded by that channel's windows and does not wait there.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::Device;
use prometheus::IntGauge;

use crate::ask::ask;
use crate::concentrator::{Answer, Request};
use crate::doorway::{Pass, Stage};
use crate::meter::Question;
use crate::shared::Shared;
use crate::upcall::{Admit, Claim, MeterQuery, RaiseCounter, Reserve, RosterQuery, Upcall};

/// Carries a request to the cluster and its answer back.
pub(super) async fn carry(
    shared: Arc<Shared>,
    concentrator: String,
    remote: SocketAddr,
    request: Request,
) -> Answer {
    let device = Device::Concentrator(concentrator.clone());
    let count = shared.config.counter_block;
    let _pass = turn(&shared, &request).await;
    match request {
        Request::Admit { ticket, system_title } => {
            let answer = ask(&shared, Admit { system_title, remote }, Upcall::Admit).await;
            Answer::Admitted { ticket, answer }
        }
        Request::Reserve { ticket, .. } => {
            let answer = ask(&shared, Reserve { device, count }, Upcall::Reserve).await;
            Answer::Reserved { ticket, answer }
        }
        Request::Refill => {
            Answer::Refilled(ask(&shared, Reserve { device, count }, Upcall::Reserve).await)
        }
        Request::Raise { ticket, at_least } => {
            let raise = RaiseCounter { device, at_least };
            Answer::Raised { ticket, answer: ask(&shared, raise, Upcall::RaiseCounter).await }
        }
        Request::Claim { ticket, channel, reason } => {
            let claim = Claim { device, role: channel, reason };
            Answer::Claimed { ticket, answer: ask(&shared, claim, Upcall::Claim).await }
        }
        Request::Roster | Request::Release { .. } | Request::Standby { .. } => {
            Answer::Roster(ask(&shared, RosterQuery { concentrator }, Upcall::Roster).await)
        }
        Request::Ingest { epoch, sequence, part } => {
            let answer = ask(&shared, part.clone(), Upcall::Ingest).await;
            Answer::Stored { epoch, sequence, part, answer }
        }
        Request::Report { sequence, report } => {
            let epoch = report.epoch;
            Answer::Reported { epoch, sequence, answer: ask(&shared, report, Upcall::Report).await }
        }
        Request::Meter { serial, question } => {
            meter_question(&shared, Some(concentrator), serial, question).await
        }
    }
}

/// Waits until it is this question's turn, if it is one of a login or a lease.
async fn turn(shared: &Shared, request: &Request) -> Option<Pass> {
    let stage = match request {
        Request::Admit { .. } => Stage::Named,
        Request::Reserve { is_granted: false, .. } | Request::Raise { .. } => Stage::Admitted,
        Request::Reserve { .. } | Request::Claim { .. } => Stage::Proven,
        // Of channels that stand: these are bounded by their windows.
        _ => return None,
    };
    Some(entered(shared, stage).await)
}

pub(super) async fn entered(shared: &Shared, stage: Stage) -> Pass {
    let _counted = Waiting::at(shared, stage);
    shared.doorway.enter(stage).await
}

/// Counts one that waits, until it is dropped.
struct Waiting(IntGauge);

impl Waiting {
    fn at(shared: &Shared, stage: Stage) -> Self {
        let gauge = shared.metrics.logins_waiting.with_label_values(&[stage.label()]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn meter_question(
    shared: &Shared,
    concentrator: Option<String>,
    serial: String,
    question: Question,
) -> Answer {
    let device = Device::Meter(serial.clone());
    match question {
        Question::Access => {
            let query = MeterQuery { serial: serial.clone(), concentrator };
            Answer::Access { serial, answer: ask(shared, query, Upcall::Meter).await }
        }
        Question::Reserve => {
            let reserve = Reserve { device, count: shared.config.meter_counter_block };
            Answer::MeterReserved { serial, answer: ask(shared, reserve, Upcall::Reserve).await }
        }
        Question::Raise { at_least } => {
            let raise = RaiseCounter { device, at_least };
            Answer::MeterRaised { serial, answer: ask(shared, raise, Upcall::RaiseCounter).await }
        }
    }
}
