//! The gateway over real sockets: a scripted concentrator and scripted meters on one side, the
//! domain's own rules in memory on the other. One binary for all of it.

#[cfg(test)]
mod concentrator;
#[cfg(test)]
mod direct;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod support;
