//! Why things fail: at the start, on a channel, and in an answer of the cluster. Each cause is one
//! word of a closed set, because causes are metric labels. No cause carries octets from the wire or
//! a key.

use std::net::SocketAddr;

/// The gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Every fault of the configuration.
    #[error("the gateway's configuration has faults: {}", .0.join("; "))]
    Config(Vec<String>),
    /// An address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `tls_listen` is set without a TLS configuration.
    #[error("tls_listen is set but no certificate was given")]
    NoCertificate,
    /// A metric of this name is registered already.
    #[error("cannot register the gateway's metrics")]
    Metrics(#[source] prometheus::Error),
}

/// Certificate files that make no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Text that is not PEM of the expected kind.
    #[error("{0} is not a usable PEM text")]
    Pem(&'static str),
    /// Certificate and key do not fit, or the authority is unusable.
    #[error("the certificates cannot be used for TLS")]
    Rustls(#[source] rustls::Error),
    /// The client certificate verifier could not be made.
    #[error("the client authority cannot be used")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// How the cluster's answer to an upcall is not a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// No by rule; the same request will be refused again. The code is the refusal's.
    Refused {
        /// Stable code, such as `unknown_meter`.
        code: String,
        /// For the log.
        detail: String,
    },
    /// No answer now (no leader, a deadline, a full queue); the same request may be made again.
    Unavailable,
}

impl Denied {
    /// A refusal with a code and nothing to add.
    #[must_use]
    pub fn refused(code: &str) -> Self {
        Self::Refused { code: code.to_owned(), detail: String::new() }
    }
}

/// Why a channel was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No whole identity in time (silence, slow octets, a TLS handshake that hangs).
    IdentityLate,
    /// Something else than an identity came first.
    IdentityExpected,
    /// No concentrator of this system title is registered, or it may not log in.
    NotAdmitted,
    /// The identity names another concentrator than its system title.
    IdentityMismatch,
    /// A frame that no key of this concentrator opens.
    Undecipherable,
    /// An invocation counter that is not above the last one.
    Replayed,
    /// Octets that are no frame, no APDU or no body of the agreed shape.
    Malformed,
    /// A frame longer than the limit.
    Oversized,
    /// The association or its authentication was refused.
    AssociationRejected,
    /// The login took too long.
    LoginLate,
    /// A request was not answered in time.
    AnswerLate,
    /// Too many heartbeats were missed.
    Silent,
    /// A push is missing between two that came.
    SequenceGap,
    /// The active channel was not accepted by the concentrator.
    ActivationRefused,
    /// A write blocked too long.
    WriteBlocked,
    /// A newer connection proved the same identity.
    Superseded,
    /// The other end closed.
    ClosedByPeer,
    /// The socket failed.
    Socket,
    /// The cluster refused counters or the lease for good.
    ClusterRefused,
    /// The cluster did not answer in time.
    ClusterUnavailable,
    /// The node stops.
    Stopped,
    /// A drill broke it off.
    Drilled,
}

impl Cause {
    /// All causes, for the metrics.
    pub const ALL: [Self; 22] = [
        Self::IdentityLate,
        Self::IdentityExpected,
        Self::NotAdmitted,
        Self::IdentityMismatch,
        Self::Undecipherable,
        Self::Replayed,
        Self::Malformed,
        Self::Oversized,
        Self::AssociationRejected,
        Self::LoginLate,
        Self::AnswerLate,
        Self::Silent,
        Self::SequenceGap,
        Self::ActivationRefused,
        Self::WriteBlocked,
        Self::Superseded,
        Self::ClosedByPeer,
        Self::Socket,
        Self::ClusterRefused,
        Self::ClusterUnavailable,
        Self::Stopped,
        Self::Drilled,
    ];

    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::IdentityLate => "identity_late",
            Self::IdentityExpected => "identity_expected",
            Self::NotAdmitted => "not_admitted",
            Self::IdentityMismatch => "identity_mismatch",
            Self::Undecipherable => "undecipherable",
            Self::Replayed => "replayed",
            Self::Malformed => "malformed",
            Self::Oversized => "oversized",
            Self::AssociationRejected => "association_rejected",
            Self::LoginLate => "login_late",
            Self::AnswerLate => "answer_late",
            Self::Silent => "silent",
            Self::SequenceGap => "sequence_gap",
            Self::ActivationRefused => "activation_refused",
            Self::WriteBlocked => "write_blocked",
            Self::Superseded => "superseded",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Socket => "socket",
            Self::ClusterRefused => "cluster_refused",
            Self::ClusterUnavailable => "cluster_unavailable",
            Self::Stopped => "stopped",
            Self::Drilled => "drilled",
        }
    }
}
