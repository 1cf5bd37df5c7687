//! An acceptance on paper: A4 pages of a PDF, drawn from the sealed report and nothing else.
//!
//! Not a layout engine: text, lines and tables in the two faces that every PDF reader has, so no
//! font stands in the file. Invariants: pure; what the standard encoding of those faces does not
//! have is shown as `?`; text never runs over an edge.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use crate::drills::acceptance::{Acceptance, Outcome};
use crate::drills::report::Report;

/// A4, points.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const EDGE: f32 = 48.0;
const FOOT: f32 = 56.0;
/// Where the columns of a distribution end, from the left edge.
const COLUMNS: [f32; 7] = [230.0, 272.0, 316.0, 364.0, 408.0, 454.0, 499.0];
const HEADS: [&str; 7] = ["n", "failed", "min", "median", "p90", "p99", "max"];

/// Widths of Helvetica's letters from the space on, thousandths of the size (Adobe's font metrics).
const LETTERS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
/// Bold letters are wider, by no more than this.
const BOLD: f32 = 1.1;

#[derive(Clone, Copy)]
enum Face {
    Plain,
    Bold,
}

/// How a report is proven to be the cluster's, as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The node that judged.
    pub judge: &'a str,
    /// Its seal, in hex.
    pub seal: &'a str,
    /// The signature, in hex.
    pub signature: &'a str,
    /// The key by which the signature is checked, in hex.
    pub public_key: &'a str,
}

/// The report as a PDF; none when it is not one of an acceptance.
pub fn pdf(report: &Report, proof: Proof<'_>) -> Option<Vec<u8>> {
    let found = report.acceptance.as_ref()?;
    let mut paper = Paper::new();
    head(&mut paper, report, found);
    summary(&mut paper, found);
    for one in &found.figures {
        figure(&mut paper, one);
    }
    foot(&mut paper, report, found, proof);
    let title = format!("Acceptance {} of a Holdfast cluster", report.identity.drill);
    Some(paper.finish(&title))
}

fn head(paper: &mut Paper, report: &Report, found: &Acceptance) {
    paper.text(Face::Bold, 20.0, &format!("Acceptance {}", report.identity.drill));
    let nodes = report.identity.nodes.len();
    let text = format!(
        "Every figure of chapter 6 of the specification, measured on a Holdfast cluster of {nodes} \
         nodes with {} meters behind {} concentrators. What this size or this run cannot prove is \
         not called passed.",
        found.meters, found.concentrators
    );
    paper.text(Face::Plain, 10.0, &text);
    let text = format!(
        "{} passed, {} failed, {} not proven here. Judged {} by {}.",
        found.passed(),
        found.failed(),
        found.unproven(),
        report.identity.begun,
        report.identity.judge
    );
    paper.text(Face::Bold, 10.0, &text);
    paper.skip(6.0);
}

fn summary(paper: &mut Paper, found: &Acceptance) {
    paper.line();
    for one in &found.figures {
        paper.room(30.0);
        paper.at(Face::Bold, 9.5, 0.0, &one.title);
        paper.right(Face::Bold, 9.5, WIDTH - 2.0 * EDGE, one.verdict.name());
        paper.skip(12.0);
        paper.text(Face::Plain, 8.5, &one.result);
        paper.line();
    }
}

fn figure(paper: &mut Paper, one: &Outcome) {
    paper.room(110.0);
    paper.skip(12.0);
    paper.at(Face::Bold, 12.0, 0.0, &one.title);
    paper.right(Face::Bold, 11.0, WIDTH - 2.0 * EDGE, one.verdict.name());
    paper.skip(16.0);
    for (name, text) in
        [("Limit", &one.limit), ("Result", &one.result), ("Reason", &one.reason), ("How", &one.how)]
    {
        if !text.is_empty() {
            paper.text(Face::Plain, 9.0, &format!("{name}: {text}"));
        }
    }
    if one.distributions.is_empty() {
        return;
    }
    paper.room(16.0 + 12.0 * one.distributions.len() as f32);
    paper.skip(3.0);
    paper.at(Face::Bold, 8.5, 0.0, "milliseconds of");
    for (at, head) in COLUMNS.into_iter().zip(HEADS) {
        paper.right(Face::Bold, 8.5, at, head);
    }
    paper.skip(12.0);
    for lies in &one.distributions {
        paper.at(Face::Plain, 8.5, 0.0, &lies.of);
        for (at, cell) in COLUMNS.into_iter().zip(lies.cells()) {
            paper.right(Face::Plain, 8.5, at, &cell);
        }
        paper.skip(12.0);
    }
}

fn foot(paper: &mut Paper, report: &Report, found: &Acceptance, proof: Proof<'_>) {
    let (id, machine) = (&report.identity, &found.machine);
    paper.room(150.0);
    paper.skip(12.0);
    paper.text(Face::Bold, 12.0, "Machine, cluster, seal");
    let mut tell = |name: &str, text: String| {
        paper.text(Face::Plain, 9.0, &format!("{name}: {text}"));
    };
    tell(
        "Machine of the driver",
        format!(
            "{}, {}, {} cores, {} MiB, {}",
            machine.system,
            machine.processor,
            machine.cores,
            machine.memory_mib,
            found.load()
        ),
    );
    tell("Disk", machine.disk.clone());
    tell(&format!("{}, ms", found.sync.of), found.sync_words());
    let (version, revision) = (&id.version, &id.revision);
    tell("Program", format!("{version}, revision {revision}, {} build", found.build));
    tell("Nodes", id.nodes.join(", "));
    tell("Trials", format!("{}, {} s", found.trials, found.took_s));
    tell("Operator", format!("{}: {}", id.operator, id.reason));
    for one in &report.replicas {
        let hash = one.hash.as_deref().unwrap_or("no answer");
        tell(&format!("State of {} at {}", one.node, one.index), hash.to_owned());
    }
    tell("Evidence, BLAKE3", report.evidence.blake3.clone());
    tell(&format!("Seal of {}", proof.judge), proof.seal.to_owned());
    tell("Signature, Ed25519", proof.signature.to_owned());
    tell("Public key", proof.public_key.to_owned());
}

/// Pages that are being written, from the top.
struct Paper {
    pages: Vec<Content>,
    y: f32,
}

impl Paper {
    fn new() -> Paper {
        Paper { pages: vec![Content::new()], y: HEIGHT - EDGE }
    }

    /// Begins a new page unless there is so much room.
    fn room(&mut self, points: f32) {
        if self.y - points < FOOT {
            self.pages.push(Content::new());
            self.y = HEIGHT - EDGE;
        }
    }

    fn skip(&mut self, points: f32) {
        self.y -= points;
    }

    /// A line over the whole width.
    fn line(&mut self) {
        let y = self.y + 4.0;
        if let Some(page) = self.pages.last_mut() {
            page.set_line_width(0.4).set_stroke_gray(0.7);
            page.move_to(EDGE, y).line_to(WIDTH - EDGE, y).stroke();
        }
        self.skip(9.0);
    }

    /// Text on the line where it stands, from the left edge on.
    fn at(&mut self, face: Face, size: f32, x: f32, text: &str) {
        let name = match face {
            Face::Plain => Name(b"F1"),
            Face::Bold => Name(b"F2"),
        };
        let octets = encoded(text);
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.begin_text().set_font(name, size).next_line(EDGE + x, y);
            page.show(Str(&octets)).end_text();
        }
    }

    /// The same, ending there.
    fn right(&mut self, face: Face, size: f32, x: f32, text: &str) {
        // Figures are as wide in both faces; words end a little further left.
        let wider = if text.bytes().any(|c| c.is_ascii_alphabetic()) { BOLD } else { 1.0 };
        let wider = if matches!(face, Face::Bold) { wider } else { 1.0 };
        self.at(face, size, x - width(text, size) * wider, text);
    }

    /// A paragraph, broken where a word would run over the edge.
    fn text(&mut self, face: Face, size: f32, text: &str) {
        let wider = if matches!(face, Face::Bold) { BOLD } else { 1.0 };
        for line in lines(text, size * wider, WIDTH - 2.0 * EDGE) {
            self.room(size * 1.35);
            self.skip(size * 0.35);
            self.at(face, size, 0.0, &line);
            self.skip(size);
        }
    }

    fn finish(mut self, title: &str) -> Vec<u8> {
        let count = self.pages.len();
        for place in 0..count {
            let text = format!("{title} - page {} of {count}", place + 1);
            let octets = encoded(&text);
            if let Some(page) = self.pages.get_mut(place) {
                page.begin_text().set_font(Name(b"F1"), 8.0).next_line(EDGE, FOOT - 24.0);
                page.show(Str(&octets)).end_text();
            }
        }
        let mut next = 0;
        let mut number = || {
            next += 1;
            Ref::new(next)
        };
        let (catalog, tree, plain, bold, info) = (number(), number(), number(), number(), number());
        let places: Vec<(Ref, Ref)> = (0..count).map(|_| (number(), number())).collect();
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree);
        pdf.document_info(info).title(TextStr(title)).creator(TextStr("Holdfast"));
        pdf.pages(tree)
            .kids(places.iter().map(|(page, _)| *page))
            .count(i32::try_from(count).unwrap_or(i32::MAX));
        for ((page, content), drawn) in places.into_iter().zip(self.pages) {
            let mut one = pdf.page(page);
            one.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(content);
            let mut resources = one.resources();
            resources.fonts().pair(Name(b"F1"), plain).pair(Name(b"F2"), bold);
            resources.finish();
            one.finish();
            pdf.stream(content, &drawn.finish());
        }
        for (font, name) in [(plain, "Helvetica"), (bold, "Helvetica-Bold")] {
            pdf.type1_font(font)
                .base_font(Name(name.as_bytes()))
                .encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        pdf.finish()
    }
}

/// In the faces' own encoding: Latin letters as they are, the rest as `?`.
fn encoded(text: &str) -> Vec<u8> {
    let octet = |c: char| match u32::from(c) {
        code @ (0x20..=0x7e | 0xa0..=0xff) => u8::try_from(code).unwrap_or(b'?'),
        _ => b'?',
    };
    text.chars().map(octet).collect()
}

/// How wide a text is in the plain face, points.
fn width(text: &str, size: f32) -> f32 {
    let of = |octet: u8| {
        let place = usize::from(octet).checked_sub(0x20);
        let known = place.and_then(|place| LETTERS.get(place)).copied();
        // Letters with marks are as wide as without; capitals are the widest of those.
        f32::from(known.unwrap_or(778))
    };
    encoded(text).into_iter().map(of).sum::<f32>() * size / 1000.0
}

/// A text in lines that are no wider than that; a word that is wider is broken within.
fn lines(text: &str, size: f32, most: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        loop {
            let line = lines.last().map_or("", String::as_str);
            let gap = if line.is_empty() { "" } else { " " };
            if width(&format!("{line}{gap}{rest}"), size) <= most {
                if let Some(line) = lines.last_mut() {
                    line.push_str(gap);
                    line.push_str(rest);
                }
                break;
            }
            if !line.is_empty() {
                lines.push(String::new());
                continue;
            }
            let fits = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            let fits = fits.take_while(|end| width(rest.get(..*end).unwrap_or(""), size) <= most);
            let cut = fits.last().or(rest.chars().next().map(char::len_utf8)).unwrap_or(rest.len());
            let (head, tail) = rest.split_at(cut);
            if let Some(line) = lines.last_mut() {
                line.push_str(head);
            }
            lines.push(String::new());
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::{encoded, lines, width};

    #[test]
    fn a_line_never_runs_over_the_edge_and_loses_nothing() {
        let long = "x".repeat(300);
        let text = format!("a few words and {long} and more of them {}", "word ".repeat(60));
        for most in [40.0, 120.0, 499.0] {
            let found = lines(&text, 9.0, most);
            assert!(found.iter().all(|line| width(line, 9.0) <= most), "{most}: {found:?}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let kept: usize = found.iter().map(|line| letters(line)).sum();
            assert_eq!(kept, letters(&text));
        }
        assert!(lines("  ", 9.0, 100.0).is_empty());
    }

    #[test]
    fn what_the_faces_do_not_have_is_marked() {
        assert_eq!(encoded("Añb"), b"A\xf1b");
        assert_eq!(encoded("Дом 电"), b"??? ?");
    }
}
