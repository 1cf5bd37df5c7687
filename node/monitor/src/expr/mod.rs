//! The small language of rules: series, arithmetic, aggregation, comparison.
//!
//! A part of PromQL with its meaning, no more: see `docs/reference/monitor.md`. Not the scraping
//! and not the states of alarms. Invariants: an expression that was parsed evaluates without
//! failure; nesting is bounded; a comparison keeps what it holds for, with the value.

mod parse;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use parse::Malformed;

use crate::exposition::Labels;
use crate::window::{Point, Window};

/// The series that the monitor itself adds: 1 for a node whose page came, 0 otherwise.
pub const UP: &str = "up";

/// A series and its value.
pub type Vector = Vec<(Labels, f64)>;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    root: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    Select(Selector),
    Over(Over, Selector, i64),
    Absent(Selector),
    Age(Box<Node>),
    Fold(Fold, Vec<String>, Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
}

#[derive(Clone, Debug, PartialEq)]
struct Selector {
    name: String,
    matchers: Vec<(String, bool, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Rate,
    Increase,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fold {
    Sum,
    Min,
    Max,
    Avg,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

enum Value {
    Scalar(f64),
    Vector(Vector),
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Expr, Malformed> {
        let root = parse::parse(text)?;
        match root.is_vector() {
            true => Ok(Expr { root }),
            false => Err(Malformed { at: 0, what: "it gives a number, not series".into() }),
        }
    }

    /// The metrics that it names.
    pub fn metrics(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.root.metrics(&mut names);
        names
    }

    /// The longest past that it looks at, in milliseconds.
    pub fn reach_ms(&self) -> i64 {
        self.root.reach_ms()
    }

    /// The series for which it holds, in order of their labels. `now` is Unix milliseconds.
    pub fn evaluate(&self, window: &Window, now: i64) -> Vector {
        match self.root.evaluate(window, now) {
            Value::Vector(mut vector) => {
                vector.sort_by(|one, other| one.0.cmp(&other.0));
                vector
            }
            Value::Scalar(_) => Vector::new(),
        }
    }
}

impl Node {
    fn is_vector(&self) -> bool {
        match self {
            Node::Number(_) => false,
            Node::Age(inner) => inner.is_vector(),
            Node::Binary(op, left, right) => op.compares() || left.is_vector() || right.is_vector(),
            _ => true,
        }
    }

    fn metrics(&self, names: &mut BTreeSet<String>) {
        match self {
            Node::Number(_) => {}
            Node::Select(selector) | Node::Over(_, selector, _) | Node::Absent(selector) => {
                names.insert(selector.name.clone());
            }
            Node::Age(inner) | Node::Fold(_, _, inner) => inner.metrics(names),
            Node::Binary(_, left, right) => {
                left.metrics(names);
                right.metrics(names);
            }
        }
    }

    fn reach_ms(&self) -> i64 {
        match self {
            Node::Over(_, _, span) => *span,
            Node::Age(inner) | Node::Fold(_, _, inner) => inner.reach_ms(),
            Node::Binary(_, left, right) => left.reach_ms().max(right.reach_ms()),
            _ => 0,
        }
    }

    fn evaluate(&self, window: &Window, now: i64) -> Value {
        match self {
            Node::Number(number) => Value::Scalar(*number),
            Node::Select(selector) => Value::Vector(selector.current(window)),
            Node::Over(over, selector, span) => {
                Value::Vector(selector.over(*over, window, now - span))
            }
            Node::Absent(selector) => Value::Vector(selector.absent(window)),
            Node::Age(inner) => {
                let seconds = now as f64 / 1000.0;
                match inner.evaluate(window, now) {
                    Value::Scalar(value) => Value::Scalar(seconds - value),
                    Value::Vector(mut vector) => {
                        vector.iter_mut().for_each(|(_, value)| *value = seconds - *value);
                        Value::Vector(vector)
                    }
                }
            }
            Node::Fold(fold, by, inner) => {
                Value::Vector(fold.of(by, inner.evaluate(window, now).vector()))
            }
            Node::Binary(op, left, right) => {
                op.of(left.evaluate(window, now), right.evaluate(window, now))
            }
        }
    }
}

impl Value {
    fn vector(self) -> Vector {
        match self {
            Value::Scalar(value) => vec![(Labels::new(), value)],
            Value::Vector(vector) => vector,
        }
    }
}

impl Selector {
    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|(name, equal, wanted)| {
            (labels.get(name).map_or("", String::as_str) == wanted) == *equal
        })
    }

    fn current(&self, window: &Window) -> Vector {
        if self.name == UP {
            let up = window.nodes_up().map(|(node, up)| {
                let labels = Labels::from([("node".to_owned(), node.to_owned())]);
                (labels, f64::from(u8::from(up)))
            });
            return up.filter(|(labels, _)| self.matches(labels)).collect();
        }
        let current = window.current(&self.name).filter(|(labels, _)| self.matches(labels));
        current.map(|(labels, value)| (labels.clone(), value)).collect()
    }

    fn over(&self, over: Over, window: &Window, from: i64) -> Vector {
        let series = window.points(&self.name).filter(|(labels, _)| self.matches(labels));
        let values = series.filter_map(|(labels, points)| {
            let (grown, seconds) = growth(points, from)?;
            let value = match over {
                Over::Increase => grown,
                Over::Rate => grown / seconds,
            };
            Some((labels.clone(), value))
        });
        values.collect()
    }

    /// One series of the labels that were asked for, when nothing is current.
    fn absent(&self, window: &Window) -> Vector {
        if !self.current(window).is_empty() {
            return Vector::new();
        }
        let labels = self.matchers.iter().filter(|(_, equal, _)| *equal);
        let labels = labels.map(|(name, _, value)| (name.clone(), value.clone())).collect();
        vec![(labels, 1.0)]
    }
}

/// How much a counter grew since a time, and over how many seconds; a fall is a restart from
/// zero. Not extrapolated to the ends of the span, as Prometheus does: an alarm needs no prettier
/// curve.
fn growth(points: &VecDeque<Point>, from: i64) -> Option<(f64, f64)> {
    let mut within = points.iter().filter(|(at, _)| *at >= from);
    let (first_at, first) = within.next()?;
    let (mut last_at, mut last, mut grown) = (*first_at, *first, 0.0);
    for (at, value) in within {
        grown += if *value < last { *value } else { value - last };
        (last_at, last) = (*at, *value);
    }
    (last_at > *first_at).then(|| (grown, (last_at - first_at) as f64 / 1000.0))
}

impl Fold {
    fn of(self, by: &[String], vector: Vector) -> Vector {
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, value) in vector {
            let kept = labels.into_iter().filter(|(name, _)| by.contains(name)).collect();
            groups.entry(kept).or_default().push(value);
        }
        let folded = groups.into_iter().map(|(labels, values)| {
            let sum: f64 = values.iter().sum();
            let count = values.len() as f64;
            let value = match self {
                Fold::Sum => sum,
                Fold::Count => count,
                Fold::Avg => sum / count,
                Fold::Min => values.into_iter().fold(f64::INFINITY, f64::min),
                Fold::Max => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            };
            (labels, value)
        });
        folded.collect()
    }
}

impl Op {
    fn compares(self) -> bool {
        !matches!(self, Op::Add | Op::Sub | Op::Mul | Op::Div)
    }

    fn reckon(self, left: f64, right: f64) -> Option<f64> {
        let holds = match self {
            Op::Add => return Some(left + right),
            Op::Sub => return Some(left - right),
            Op::Mul => return Some(left * right),
            Op::Div => return Some(left / right),
            Op::Greater => left > right,
            Op::GreaterOrEqual => left >= right,
            Op::Less => left < right,
            Op::LessOrEqual => left <= right,
            Op::Equal => left == right,
            Op::NotEqual => left != right,
        };
        holds.then_some(left)
    }

    fn of(self, left: Value, right: Value) -> Value {
        let vector: Vector = match (left, right) {
            (Value::Scalar(left), Value::Scalar(right)) => match self.reckon(left, right) {
                Some(value) if !self.compares() => return Value::Scalar(value),
                held => held.map(|value| (Labels::new(), value)).into_iter().collect(),
            },
            (Value::Vector(left), Value::Scalar(right)) => left
                .into_iter()
                .filter_map(|(labels, value)| Some((labels, self.reckon(value, right)?)))
                .collect(),
            (Value::Scalar(left), Value::Vector(right)) => right
                .into_iter()
                .filter_map(|(labels, value)| {
                    let reckoned = self.reckon(left, value)?;
                    Some((labels, if self.compares() { value } else { reckoned }))
                })
                .collect(),
            (Value::Vector(left), Value::Vector(right)) => {
                let right: BTreeMap<Labels, f64> = right.into_iter().collect();
                left.into_iter()
                    .filter_map(|(labels, value)| {
                        let reckoned = self.reckon(value, *right.get(&labels)?)?;
                        Some((labels, reckoned))
                    })
                    .collect()
            }
        };
        Value::Vector(vector)
    }
}

#[cfg(test)]
mod tests;
