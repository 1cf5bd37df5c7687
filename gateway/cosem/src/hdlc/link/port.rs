//! The way out of a link: frames addressed, encoded and held until the driver fetches them. It
//! decides nothing about what is sent.
//!
//! Invariant: the machines ask `is_full` before they take a frame, and one frame in makes at most
//! a window of frames out, so the queue stays below `MAX_FRAMES` + 8.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::hdlc::{Address, Control, Frame, Kind};

/// Frames held for the driver before arriving ones are dropped.
const MAX_FRAMES: usize = 32;

pub(super) struct Port {
    pub(super) ours: Address,
    pub(super) theirs: Address,
    frames: VecDeque<Bytes>,
}

impl Port {
    pub(super) fn new(ours: Address, theirs: Address) -> Self {
        Self { ours, theirs, frames: VecDeque::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= MAX_FRAMES
    }

    pub(super) fn fetch(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }

    /// Forgets frames that the driver has not fetched.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }

    /// A frame without segmentation that passes the turn.
    pub(super) fn put(&mut self, kind: Kind, information: Vec<u8>) {
        let control = Control { kind, poll_final: true };
        self.put_frame(control, false, Bytes::from(information));
    }

    pub(super) fn put_frame(&mut self, control: Control, segmented: bool, information: Bytes) {
        let frame =
            Frame { segmented, destination: self.theirs, source: self.ours, control, information };
        let octets = frame.encode().expect("information is cut to 2030 octets, which always fit");
        self.frames.push_back(Bytes::from(octets));
    }
}
