//! Which concentrators are connected to this node, in which role, and how to reach their channels.
//! Not here: who owns which lease in the cluster; that is replicated state.
//!
//! Invariants: 1. one channel a concentrator at most: the newest that has proven its identity; the
//! older one is told to close; 2. a channel that has not proven itself is not in here; 3. a channel
//! leaves only its own place, never that of its successor.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use domain::leases::Role;
use tokio::sync::mpsc;

use crate::channel::Command;

/// What a channel is for the cluster now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelRole {
    /// The login is not finished, or a lease is being asked for.
    Login,
    /// Warm: associated, heartbeats, no data.
    Standby,
    /// The one that carries the data.
    Active,
}

impl ChannelRole {
    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Standby => "standby",
            Self::Active => "active",
        }
    }
}

/// One channel of a proven concentrator, for pages and the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    /// Logical device name.
    pub concentrator: String,
    /// The other end.
    pub remote: SocketAddr,
    /// Over TLS or plain TCP.
    pub tls: bool,
    /// Active or standby.
    pub role: ChannelRole,
    /// The lease epoch under which it is active.
    pub epoch: Option<u64>,
    /// When it proved its identity.
    pub since: SystemTime,
    /// When octets last came.
    pub last_heard: SystemTime,
    /// What the concentrator said of itself at login.
    pub login: Login,
    /// Meters that it reaches, from the last heartbeat.
    pub meters_online: Option<u16>,
    /// Last push sequence acknowledged on this channel.
    pub acknowledged: Option<u32>,
    /// Pushes stored on this channel.
    pub pushes: u64,
    /// Rows stored on this channel.
    pub rows: u64,
    /// Octets received.
    pub received_bytes: u64,
    /// Octets sent.
    pub sent_bytes: u64,
}

/// A concentrator's identity notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Logical device name.
    pub concentrator: String,
    /// System title, eight octets.
    pub system_title: [u8; 8],
    /// Serial number.
    pub serial: String,
    /// Firmware.
    pub firmware: String,
    /// Number of meters in its list.
    pub meters: u16,
    /// Revision of its meter list.
    pub list_revision: u32,
    /// Which of its two addresses it dialled, main or standby; None when it does not say.
    pub address: Option<Role>,
}

struct Place {
    channel: u64,
    commands: mpsc::Sender<Command>,
    status: ChannelStatus,
}

/// All proven channels of this node.
#[derive(Default)]
pub(crate) struct Roster {
    places: HashMap<String, Place>,
}

impl Roster {
    /// Takes a proven channel in. Returns the way to the older channel of the same concentrator,
    /// which must be closed.
    pub fn prove(
        &mut self,
        channel: u64,
        status: ChannelStatus,
        commands: mpsc::Sender<Command>,
    ) -> Option<mpsc::Sender<Command>> {
        let place = Place { channel, commands, status };
        let name = place.status.concentrator.clone();
        match self.places.insert(name, place) {
            Some(older) if older.channel != channel => Some(older.commands),
            _ => None,
        }
    }

    /// Replaces the status of a channel, when the place is still its own.
    pub fn update(&mut self, channel: u64, status: ChannelStatus) {
        if let Some(place) = self.places.get_mut(&status.concentrator)
            && place.channel == channel
        {
            place.status = status;
        }
    }

    /// Takes a channel out, when the place is still its own. False when a newer one stands there.
    pub fn leave(&mut self, channel: u64, concentrator: &str) -> bool {
        let own = self.places.get(concentrator).is_some_and(|place| place.channel == channel);
        if own {
            self.places.remove(concentrator);
        }
        own
    }

    /// The way to a concentrator's channel.
    pub fn commands(&self, concentrator: &str) -> Option<mpsc::Sender<Command>> {
        self.places.get(concentrator).map(|place| place.commands.clone())
    }

    /// Every status, by name.
    pub fn statuses(&self) -> Vec<ChannelStatus> {
        let mut all: Vec<_> = self.places.values().map(|place| place.status.clone()).collect();
        all.sort_by(|a, b| a.concentrator.cmp(&b.concentrator));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{ChannelRole, ChannelStatus, Login, Roster};
    use std::time::SystemTime;
    use tokio::sync::mpsc;

    fn status(role: ChannelRole) -> ChannelStatus {
        ChannelStatus {
            concentrator: "C1".to_owned(),
            remote: "127.0.0.1:1".parse().unwrap(),
            tls: false,
            role,
            epoch: None,
            since: SystemTime::UNIX_EPOCH,
            last_heard: SystemTime::UNIX_EPOCH,
            login: Login::default(),
            meters_online: None,
            acknowledged: None,
            pushes: 0,
            rows: 0,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    #[test]
    fn the_newest_proven_channel_wins_and_the_old_one_cannot_undo_it() {
        let (old, _old_end) = mpsc::channel(1);
        let (new, _new_end) = mpsc::channel(1);
        let mut roster = Roster::default();
        assert!(roster.prove(1, status(ChannelRole::Login), old.clone()).is_none());
        let superseded = roster.prove(2, status(ChannelRole::Login), new.clone());
        assert!(superseded.is_some_and(|way| way.same_channel(&old)));
        roster.update(1, status(ChannelRole::Active));
        assert!(!roster.leave(1, "C1"));
        assert_eq!(roster.statuses(), [status(ChannelRole::Login)]);
        assert!(roster.commands("C1").is_some_and(|way| way.same_channel(&new)));
        assert!(roster.leave(2, "C1"));
        assert!(roster.commands("C1").is_none());
    }
}
