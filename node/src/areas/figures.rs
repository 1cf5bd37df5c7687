//! A few figures of the replicated state for metrics and control rooms: channels of concentrators
//! and open commands.
//!
//! Invariants: the figures are the same on every node that has applied the same entries; a
//! background job reckons them, never a request.

use domain::assets::Concentrator;
use domain::leases::Role;
use domain::{Fault, Stamp, View, assets, clocks, commands, leases};

use crate::app::now_s;

/// Concentrators that are read at a time.
const AT_ONCE: usize = 1000;
/// Open commands that are counted; more are told as so many.
const COMMANDS: usize = 10_000;

/// Channels and open commands at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Concentrators whose active channel came by their main address.
    pub on_main: u64,
    /// Concentrators whose active channel came by their standby address.
    pub on_standby: u64,
    /// Concentrators that no living node has an active channel to.
    pub offline: u64,
    /// Concentrators with an active channel and no warm standby.
    pub alone: u64,
    /// Commands that have not come to their end, at most 10,000.
    pub commands: u64,
    /// When the oldest of them came, Unix seconds; 0 when there is none.
    pub oldest_command_s: u64,
    /// Clocks that are off, and what was done about them.
    pub clocks: ClockFigures,
}

/// Clocks of the replicated state in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockFigures {
    /// Beyond the tolerance with nothing under way; to be shifted; their day's limit used up; above
    /// the limit.
    pub standing: [(&'static str, u64); 4],
    /// Shifts ordered for tasks; shifts and settings made; shifts that came to nothing; clocks
    /// found above the limit. Since the cluster began.
    pub done: [(&'static str, u64); 4],
}

impl Figures {
    /// Reckons them now; reads every concentrator, so it runs beside the requests.
    pub fn reckon(view: &dyn View) -> Result<Figures, Fault> {
        let now = Stamp(now_s().saturating_mul(1_000_000));
        let mut figures = Figures::default();
        let mut behind: Option<String> = None;
        loop {
            let page = assets::concentrators(view, behind.as_deref(), AT_ONCE)?;
            for one in page.iter().filter(|one| one.retired.is_none()) {
                figures.add(view, one, now)?;
            }
            if page.len() < AT_ONCE {
                break;
            }
            behind = page.last().map(|last| last.id.clone());
        }
        let open = commands::open(view, COMMANDS)?;
        let oldest = open.iter().map(|command| command.queued.0 / 1_000_000).min();
        figures.commands = u64::try_from(open.len()).unwrap_or(u64::MAX);
        figures.oldest_command_s = oldest.unwrap_or(0);
        let counts = clocks::counts(view)?;
        figures.clocks.standing = [
            ("off", counts.off.into()),
            ("shifting", counts.shifting.into()),
            ("day_spent", counts.spent.into()),
            ("beyond_limit", counts.beyond.into()),
        ];
        figures.clocks.done = [
            ("ordered", counts.ordered),
            ("made", counts.made),
            ("failed", counts.failed),
            ("refused", counts.refused),
        ];
        Ok(figures)
    }

    fn add(&mut self, view: &dyn View, one: &Concentrator, now: Stamp) -> Result<(), Fault> {
        let device = domain::Device::Concentrator(one.id.clone());
        let Some(lease) = leases::holder(view, &device, now)? else {
            self.offline += 1;
            return Ok(());
        };
        match lease.channel {
            Role::Standby => self.on_standby += 1,
            Role::Main | Role::Dial => self.on_main += 1,
        }
        self.alone += u64::from(lease.standbys.is_empty());
        Ok(())
    }
}
