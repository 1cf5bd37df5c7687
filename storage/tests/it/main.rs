//! The stores as a whole: random operations against plain maps, killed processes, power cuts,
//! snapshots from one store to another.

mod crash;
mod model;
mod store;
