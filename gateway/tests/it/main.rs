//! The gateway over real sockets: scripted and simulated concentrators and meters on one side,
//! the domain's own rules in memory on the other. One binary for all of it.

#[cfg(test)]
mod bus;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod concentrator;
#[cfg(test)]
mod direct;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod field;
#[cfg(test)]
mod line;
#[cfg(test)]
mod models;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod refill;
#[cfg(test)]
mod rfc2217;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tls;
