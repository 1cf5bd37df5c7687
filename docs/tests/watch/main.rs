//! What watches the cluster: rules, cases, dashboards and runbooks hold together, and Debian's
//! Prometheus takes them.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod panels;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod way;
