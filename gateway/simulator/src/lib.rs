//! The field in software: concentrators and meters that speak the real protocol over real sockets.
//!
//! It knows the wire (`cosem`) and nothing of the head-end. It is a peer and a witness: it checks
//! what the head-end does to it and counts every violation.
//!
//! Map: [`field`] says which devices there are, [`energy`] and [`shapes`] what they register.

pub mod energy;
pub mod field;
pub mod mix;
pub mod shapes;
