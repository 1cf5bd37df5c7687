//! Text of a rule to its tree: letters to words, words by precedence.
//!
//! Invariants: never panics on input; nesting beyond `MAX_DEPTH` is refused; a fault names the
//! letter where it stands.

use super::{Fold, Node, Op, Over, Selector};
use crate::config::Span;

/// The deepest nesting.
const MAX_DEPTH: usize = 32;

/// An expression that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at letter {at})")]
pub struct Malformed {
    /// Letters before the fault.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Number(f64),
    Text(String),
    Span(i64),
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 17] =
    [">=", "<=", "==", "!=", ">", "<", "=", "+", "-", "*", "/", "(", ")", "{", "}", ",", "["];

struct Words {
    words: Vec<(usize, Word)>,
    next: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Node, Malformed> {
    let mut words = Words { words: words(text)?, next: 0, depth: 0 };
    let node = words.comparison()?;
    match words.words.get(words.next) {
        None => Ok(node),
        Some((at, _)) => Err(fault(*at, "nothing more is expected here")),
    }
}

fn fault(at: usize, what: impl Into<String>) -> Malformed {
    Malformed { at, what: what.into() }
}

fn words(text: &str) -> Result<Vec<(usize, Word)>, Malformed> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        if letter.is_whitespace() {
            at += letter.len_utf8();
        } else if letter == '[' {
            let end = rest.find(']').ok_or_else(|| fault(at, "no ] follows"))?;
            let span = Span::parse(&rest[1..end])
                .ok_or_else(|| fault(at, "no time such as [5m] is here"))?;
            words.push((at, Word::Span(span.millis())));
            at += end + 1;
        } else if letter == '"' {
            let end = rest[1..].find('"').ok_or_else(|| fault(at, "no closing quote follows"))?;
            words.push((at, Word::Text(rest[1..=end].to_owned())));
            at += end + 2;
        } else if letter.is_ascii_digit() || letter == '.' {
            let is_number = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
            let end = rest.find(|letter| !is_number(letter)).unwrap_or(rest.len());
            let number = rest[..end].parse();
            words.push((at, Word::Number(number.map_err(|_| fault(at, "no number"))?)));
            at += end;
        } else if is_name(letter) {
            let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
            words.push((at, Word::Name(rest[..end].to_owned())));
            at += end;
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| fault(at, format!("{letter} means nothing here")))?;
            words.push((at, Word::Sign(sign)));
            at += sign.len();
        }
    }
    Ok(words)
}

impl Words {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next).map(|(_, word)| word)
    }

    fn at(&self) -> usize {
        let last = self.words.last().map_or(0, |(at, _)| at + 1);
        self.words.get(self.next).map_or(last, |(at, _)| *at)
    }

    fn is(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Sign(found)) if *found == sign);
        self.next += usize::from(found);
        found
    }

    fn want(&mut self, sign: &str) -> Result<(), Malformed> {
        match self.is(sign) {
            true => Ok(()),
            false => Err(fault(self.at(), format!("{sign} is expected here"))),
        }
    }

    fn name(&mut self) -> Result<String, Malformed> {
        match self.peek() {
            Some(Word::Name(name)) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(fault(self.at(), "a name is expected here")),
        }
    }

    fn one_of(&mut self, known: &[(&str, Op)]) -> Option<Op> {
        known.iter().find(|(sign, _)| self.is(sign)).map(|(_, op)| *op)
    }

    fn comparison(&mut self) -> Result<Node, Malformed> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(fault(self.at(), "nested too deep"));
        }
        let left = self.sum()?;
        let known = [
            (">=", Op::GreaterOrEqual),
            ("<=", Op::LessOrEqual),
            ("==", Op::Equal),
            ("!=", Op::NotEqual),
            (">", Op::Greater),
            ("<", Op::Less),
        ];
        let node = match self.one_of(&known) {
            Some(op) => Node::Binary(op, Box::new(left), Box::new(self.sum()?)),
            None => left,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn sum(&mut self) -> Result<Node, Malformed> {
        let mut left = self.product()?;
        while let Some(op) = self.one_of(&[("+", Op::Add), ("-", Op::Sub)]) {
            left = Node::Binary(op, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Node, Malformed> {
        let mut left = self.atom()?;
        while let Some(op) = self.one_of(&[("*", Op::Mul), ("/", Op::Div)]) {
            left = Node::Binary(op, Box::new(left), Box::new(self.atom()?));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Node, Malformed> {
        if self.is("(") {
            let inner = self.comparison()?;
            self.want(")")?;
            return Ok(inner);
        }
        if self.is("-") {
            return match self.peek() {
                Some(Word::Number(number)) => {
                    let number = -*number;
                    self.next += 1;
                    Ok(Node::Number(number))
                }
                _ => Err(fault(self.at(), "a number is expected here")),
            };
        }
        if let Some(Word::Number(number)) = self.peek() {
            let number = *number;
            self.next += 1;
            return Ok(Node::Number(number));
        }
        let name = self.name()?;
        match name.as_str() {
            "sum" => self.fold(Fold::Sum),
            "min" => self.fold(Fold::Min),
            "max" => self.fold(Fold::Max),
            "avg" => self.fold(Fold::Avg),
            "count" => self.fold(Fold::Count),
            "rate" => self.over(Over::Rate),
            "increase" => self.over(Over::Increase),
            "absent" => {
                self.want("(")?;
                let name = self.name()?;
                let selector = self.selector(name)?;
                self.want(")")?;
                Ok(Node::Absent(selector))
            }
            "age" => {
                self.want("(")?;
                let inner = self.comparison()?;
                self.want(")")?;
                Ok(Node::Age(Box::new(inner)))
            }
            _ => Ok(Node::Select(self.selector(name)?)),
        }
    }

    fn fold(&mut self, fold: Fold) -> Result<Node, Malformed> {
        let mut by = Vec::new();
        if matches!(self.peek(), Some(Word::Name(name)) if name == "by") {
            self.next += 1;
            self.want("(")?;
            while !self.is(")") {
                by.push(self.name()?);
                if !self.is(",") {
                    self.want(")")?;
                    break;
                }
            }
        }
        self.want("(")?;
        let inner = self.comparison()?;
        self.want(")")?;
        Ok(Node::Fold(fold, by, Box::new(inner)))
    }

    fn over(&mut self, over: Over) -> Result<Node, Malformed> {
        self.want("(")?;
        let name = self.name()?;
        let selector = self.selector(name)?;
        let Some(Word::Span(span)) = self.peek() else {
            return Err(fault(self.at(), "a time such as [5m] is expected here"));
        };
        let span = *span;
        self.next += 1;
        self.want(")")?;
        Ok(Node::Over(over, selector, span))
    }

    fn selector(&mut self, name: String) -> Result<Selector, Malformed> {
        let mut matchers = Vec::new();
        if self.is("{") {
            while !self.is("}") {
                let label = self.name()?;
                let equal = self.is("=");
                if !equal {
                    self.want("!=")?;
                }
                let Some(Word::Text(value)) = self.peek() else {
                    return Err(fault(self.at(), "a text in quotes is expected here"));
                };
                matchers.push((label, equal, value.clone()));
                self.next += 1;
                if !self.is(",") {
                    self.want("}")?;
                    break;
                }
            }
        }
        Ok(Selector { name, matchers })
    }
}
