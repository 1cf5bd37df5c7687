//! The monitor as a process, with real parts around it: nodes that answer HTTP, a modem on a
//! pseudo-terminal, a mail server with STARTTLS and AUTH, Alertmanager.

#[cfg(test)]
mod alertmanager;
#[cfg(test)]
mod config;
#[cfg(test)]
mod gammu;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod smstools;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod support;
