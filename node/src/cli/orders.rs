//! `meter switch`, `meter clock`, `meter write`: orders that act, from the command line.

use clap::Args;
use serde_json::json;

use super::ClusterArgs;
use super::verbs::order_device;
use crate::exit::Failure;

/// `meter switch`.
#[derive(Args)]
pub struct MeterSwitch {
    /// Its serial.
    pub serial: String,
    /// open disconnects, close reconnects.
    #[arg(value_parser = ["open", "close"])]
    pub to: String,
    /// Why, for the record.
    #[arg(long)]
    pub reason: String,
    /// Seconds until it is not sent any more.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `meter clock`.
#[derive(Args)]
pub struct MeterClock {
    /// Its serial.
    pub serial: String,
    /// The largest step in seconds by shifting, 900 at most.
    #[arg(long, default_value_t = 60)]
    pub limit: u16,
    /// Set the time whatever the offset is.
    #[arg(long)]
    pub set: bool,
    /// Seconds until it is not sent any more.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `meter write`.
#[derive(Args)]
pub struct MeterWrite {
    /// Its serial.
    pub serial: String,
    /// The object.
    #[arg(long)]
    pub obis: String,
    /// Its interface class, when it is none of the usual.
    #[arg(long)]
    pub class: Option<u16>,
    /// The attribute [2].
    #[arg(long)]
    pub attribute: Option<i8>,
    /// The new value, unscaled, as JSON; octets as {"hex": "01ff"}; other words are text.
    #[arg(long)]
    pub value: String,
    /// Its type, as long-unsigned, when the attribute cannot be read.
    #[arg(long = "type", value_name = "TYPE")]
    pub type_name: Option<String>,
    /// Seconds until it is not sent any more.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
    /// How to reach the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Opens or closes the switch.
pub(super) async fn switch(args: &MeterSwitch) -> Result<(), Failure> {
    let order = json!({"kind": "switch", "to": args.to, "reason": args.reason});
    order_device(&args.serial, order, args.timeout, &args.cluster).await
}

/// Brings the clock to ours.
pub(super) async fn clock(args: &MeterClock) -> Result<(), Failure> {
    let order = json!({"kind": "clock", "limit_s": args.limit, "set": args.set});
    order_device(&args.serial, order, args.timeout, &args.cluster).await
}

/// Writes an attribute.
pub(super) async fn write(args: &MeterWrite) -> Result<(), Failure> {
    // What is no JSON is text, so that names need no quotes.
    let value = serde_json::from_str(&args.value).unwrap_or_else(|_| json!(args.value));
    let order = json!({
        "kind": "write",
        "attribute": {"obis": args.obis, "class": args.class, "attribute": args.attribute},
        "value": value,
        "type": args.type_name,
    });
    order_device(&args.serial, order, args.timeout, &args.cluster).await
}
