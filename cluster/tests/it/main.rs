//! Integration tests of the cluster: real files, real QUIC over loopback, several nodes in one
//! process. `links` tests the transport's rules, `trio` a cluster of three, `history` its sealed
//! values, `members` nodes that come and go.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod history;
#[cfg(test)]
mod links;
#[cfg(test)]
mod members;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trio;
