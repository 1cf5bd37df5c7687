//! Log lines: JSON on standard output for `run`, for people in `demo` and the command line.
//!
//! Invariants: one JSON object a line with `ts`, `level`, `target`, `msg` and `node`; the level
//! comes from the configuration, `RUST_LOG` goes over it.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config;

/// Installs the log lines of a node. A second call does nothing.
pub fn install(log: &config::Log, node: &str) {
    if log.format == "json" {
        let filter = filter(&log.level);
        let lines = JsonLines { node: node.to_string() };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .event_format(lines)
            .with_writer(std::io::stdout)
            .finish();
        let _ = tracing::subscriber::set_global_default(subscriber);
    } else {
        human(&log.level, std::io::stdout);
    }
}

/// Installs lines for people, on standard error, so that results alone are on standard output.
pub fn install_human(level: &str) {
    human(level, std::io::stderr);
}

fn human<W>(level: &str, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout()))
        .with_writer(writer)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Libraries speak of things that an operator cannot act on. What consensus has to say is said by
/// the cluster, in words of this program: at a stop openraft calls its own end an error.
fn filter(level: &str) -> EnvFilter {
    let directives = format!("{level},openraft=off,quinn=warn,rustls=warn,hyper=warn,sled=warn");
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives))
}

struct JsonLines {
    node: String,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(serde_json::Map::new());
        let meta = event.metadata();
        let now = jiff::Timestamp::now();
        fields.put("ts", format!("{now:.6}"));
        fields.put("level", meta.level().to_string());
        fields.put("target", meta.target().to_string());
        fields.put("node", self.node.clone());
        event.record(&mut fields);
        let line = serde_json::to_string(&fields.0).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

struct Fields(serde_json::Map<String, serde_json::Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        let name = if name == "message" { "msg" } else { name };
        self.0.insert(name.to_string(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }
}
