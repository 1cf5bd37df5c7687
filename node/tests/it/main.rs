//! What the program does, seen from outside: the built binary, real sockets, real files.

#[cfg(test)]
mod api;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
#[cfg(test)]
mod decode;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod http;
#[cfg(test)]
mod init;
#[cfg(test)]
mod live;
#[cfg(test)]
mod members;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod people;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod values;
