//! The field in software: concentrators and meters that speak the real protocol over real sockets.
//!
//! It knows the wire (`cosem`) and nothing of the head-end. It is a peer and a witness: it checks
//! what the head-end does to it ([`witness`]) and counts every violation ([`tally`]).
//!
//! Map: [`field`] says which devices there are, [`energy`], [`shapes`] and [`past`] what they
//! register, [`clock`] when. [`push`] cuts the history into pushes, [`objects`] are what a meter
//! can be asked, [`session`] is one association. [`concentrator`] is the machine with its task,
//! [`direct`] the meters with an address, [`behind`] the way to real ones. [`state`] is what
//! survives a restart, [`journal`] what was acknowledged, [`registry`] what a head-end imports;
//! [`fault`] decides who misbehaves. [`run`] starts and stops it all as [`config`] and [`cli`] say.

pub mod behind;
pub mod cli;
pub mod clock;
pub mod concentrator;
pub mod config;
pub mod direct;
pub mod energy;
pub mod fault;
pub mod field;
pub mod happenings;
pub mod journal;
pub mod mix;
pub mod objects;
pub mod past;
pub mod push;
pub mod registry;
pub mod run;
pub mod session;
pub mod shapes;
pub mod state;
pub mod suites;
pub mod tally;
pub mod witness;
