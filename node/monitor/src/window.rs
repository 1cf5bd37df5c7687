//! The last minutes of the scraped series.
//!
//! Times are Unix milliseconds and arguments. Invariants: only series that rules name are kept; a
//! series that was not in its node's last page is not current; what is older than the window
//! goes.

use std::collections::{BTreeMap, VecDeque};

use crate::exposition::{Labels, Sample};

/// The most points of a series, whatever the window and the interval.
const MAX_POINTS: usize = 1000;

/// A point: Unix milliseconds and value.
pub type Point = (i64, f64);

#[derive(Debug, Default)]
struct NodeSeries {
    /// When the last page came; `None` after a failed scrape.
    page: Option<i64>,
    series: BTreeMap<(String, Labels), VecDeque<Point>>,
}

/// Series of all nodes.
#[derive(Debug)]
pub struct Window {
    keep_ms: i64,
    nodes: BTreeMap<String, NodeSeries>,
    /// By what this monitor sees itself.
    own: BTreeMap<String, NodeSeries>,
}

impl Window {
    /// An empty window of this length.
    pub fn new(keep_ms: i64) -> Window {
        Window { keep_ms, nodes: BTreeMap::new(), own: BTreeMap::new() }
    }

    /// A node's page came. Each series is given the label `node`; one of that name that it had
    /// becomes `exported_node`, as Prometheus does.
    pub fn put(&mut self, node: &str, now: i64, samples: Vec<Sample>) {
        let held = self.nodes.entry(node.to_owned()).or_default();
        held.page = Some(now);
        for Sample { name, mut labels, value } in samples {
            if let Some(own) = labels.insert("node".into(), node.to_owned()) {
                labels.insert("exported_node".into(), own);
            }
            let points = held.series.entry((name, labels)).or_default();
            points.push_back((now, value));
            if points.len() > MAX_POINTS {
                points.pop_front();
            }
        }
        self.forget(now);
    }

    /// What this monitor sees itself: series without a page of their own and without `up`.
    pub fn put_own(&mut self, source: &str, now: i64, samples: Vec<Sample>) {
        let held = self.own.entry(source.to_owned()).or_default();
        held.page = Some(now);
        for Sample { name, labels, value } in samples {
            let points = held.series.entry((name, labels)).or_default();
            points.push_back((now, value));
            if points.len() > MAX_POINTS {
                points.pop_front();
            }
        }
        self.forget(now);
    }

    /// A node's page did not come: none of its series is current.
    pub fn lost(&mut self, node: &str, now: i64) {
        self.nodes.entry(node.to_owned()).or_default().page = None;
        self.forget(now);
    }

    fn forget(&mut self, now: i64) {
        let oldest = now - self.keep_ms;
        for node in self.nodes.values_mut().chain(self.own.values_mut()) {
            node.series.retain(|_, points| {
                while points.front().is_some_and(|(at, _)| *at < oldest) {
                    points.pop_front();
                }
                !points.is_empty()
            });
        }
    }

    /// Whether every node was asked: its page came, or did not.
    pub fn nodes_up(&self) -> impl Iterator<Item = (&str, bool)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node.page.is_some()))
    }

    /// The current series of a metric.
    pub fn current<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.points(name).filter_map(|(labels, points)| Some((labels, points.back()?.1)))
    }

    /// The current series of a metric with all that is held of them.
    pub fn points<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Labels, &'a VecDeque<Point>)> {
        self.nodes.values().chain(self.own.values()).flat_map(move |node| {
            let from = (name.to_owned(), Labels::new());
            node.series
                .range(from..)
                .take_while(move |((held, _), _)| held == name)
                .filter(|(_, points)| points.back().map(|(at, _)| *at) == node.page)
                .map(|((_, labels), points)| (labels, points))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, value: f64) -> Sample {
        Sample { name: name.into(), labels: Labels::new(), value }
    }

    fn values(window: &Window, name: &str) -> Vec<(String, f64)> {
        window.current(name).map(|(labels, value)| (labels["node"].clone(), value)).collect()
    }

    #[test]
    fn only_the_last_page_is_current() {
        let mut window = Window::new(1000);
        window.put("n1", 0, vec![sample("a", 1.0), sample("ab", 9.0)]);
        window.put("n2", 0, vec![sample("a", 2.0)]);
        assert_eq!(values(&window, "a"), [("n1".into(), 1.0), ("n2".into(), 2.0)]);
        window.put("n1", 500, vec![sample("ab", 9.0)]);
        assert_eq!(values(&window, "a"), [("n2".into(), 2.0)]);
        window.lost("n2", 600);
        assert_eq!(values(&window, "a"), []);
        let up: Vec<_> = window.nodes_up().collect();
        assert_eq!(up, [("n1", true), ("n2", false)]);
    }

    #[test]
    fn the_past_goes() {
        let mut window = Window::new(1000);
        for now in (0..3000).step_by(500) {
            window.put("n1", now, vec![sample("a", now as f64)]);
        }
        let (_, points) = window.points("a").next().unwrap();
        assert_eq!(points.front(), Some(&(1500, 1500.0)));
        assert_eq!(points.len(), 3);
    }

    #[test]
    fn a_label_of_the_page_is_kept_under_another_name() {
        let mut window = Window::new(1000);
        let labels = Labels::from([("node".to_owned(), "7".to_owned())]);
        window.put("n1", 0, vec![Sample { name: "a".into(), labels, value: 1.0 }]);
        let (labels, _) = window.current("a").next().unwrap();
        assert_eq!((labels["node"].as_str(), labels["exported_node"].as_str()), ("n1", "7"));
    }
}
