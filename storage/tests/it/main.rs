//! The stores as a whole: random operations against plain maps, killed processes, power cuts,
//! snapshots from one store to another.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod duckdb;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod model;
#[cfg(test)]
mod python;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod store;
