//! The sections of the configuration file: their names and what they are about.

/// The sections, in the order of the file and of the document.
pub const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this process is."),
    ("cluster", "The log that the nodes share, over QUIC with mutual TLS."),
    ("cluster.peers", "One `[[cluster.peers]]` table for every node, this one included."),
    ("tls", "Certificates between nodes, as `holdfast init` writes them."),
    ("keys", "Secrets for meter keys."),
    ("http", "API, page, health and metrics."),
    ("gateway", "Channels to concentrators and meters."),
    (
        "gateway.serial",
        "One `[[gateway.serial]]` table for every serial port of this node that leads to \
         meters: RS485 adapters, optical heads. Their addresses are `hdlc+serial://NAME` and \
         the like.",
    ),
    ("storage", "Bytes on disk."),
    ("drills", "Failures on purpose, see [drills](../operations/drills.md)."),
    ("ups", "The UPS that feeds this node, see [power](../operations/monitoring.md#power)."),
    ("log", "Lines on standard output."),
];
