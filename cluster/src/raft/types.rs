//! The types with which consensus is instantiated, and the octets of a log record.
//!
//! Invariants: the record's format is ours and carries its version, so that another version of
//! the consensus library can read the log. Decoding never panics and is bounded by its input.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
};

use bytes::{BufMut, Bytes, BytesMut};
use domain::Outcome;
use openraft::{EntryPayload, LogId, Membership, impls::leader_id_adv::LeaderId};
use serde::{Deserialize, Serialize};
use storage::Record;

use super::state_machine::StateMachine;

/// The encoded `domain::Entry` that a log entry carries.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload(#[serde(with = "octets")] pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} octets)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answers: an outcome, or nothing for entries of consensus itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer(pub Option<Outcome>);

/// What the membership says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Name for people.
    pub name: String,
    /// `host:port` of its node link.
    pub address: String,
    /// URL of its HTTP side.
    pub http: String,
}

impl From<&domain::members::Node> for Member {
    fn from(node: &domain::members::Node) -> Self {
        let domain::members::Node { name, address, http, .. } = node.clone();
        Self { name, address, http }
    }
}

#[cfg(not(feature = "simulation"))]
openraft::declare_raft_types!(
    /// Our instance of consensus.
    pub TypeConfig:
        D = Payload,
        R = Answer,
        NodeId = u64,
        Node = Member,
);

#[cfg(feature = "simulation")]
openraft::declare_raft_types!(
    /// Our instance of consensus, which can run in a world of virtual time.
    pub TypeConfig:
        D = Payload,
        R = Answer,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = super::runtime::Runtime,
);

/// Identity of a log entry.
pub type EntryId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// A log entry.
pub type LogEntry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// A membership with the id of its entry.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot is of.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// The running consensus.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Version of log records.
const RECORD_VERSION: u8 = 1;
/// Octets before the body: version, term, node, kind.
const RECORD_HEAD: usize = 18;

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// The on-disk form of a membership.
#[derive(Serialize, Deserialize)]
struct StoredConfig {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, Member>,
}

/// Makes the record of an entry. Fails only when a membership cannot be encoded.
pub fn to_record(entry: &LogEntry) -> io::Result<Record> {
    let leader = &entry.log_id.leader_id;
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, Bytes::new()),
        EntryPayload::Normal(payload) => (KIND_NORMAL, payload.0.clone()),
        EntryPayload::Membership(membership) => (KIND_MEMBERSHIP, encode_config(membership)?),
    };
    let mut octets = BytesMut::with_capacity(RECORD_HEAD + body.len());
    octets.put_u8(RECORD_VERSION);
    octets.put_u64(leader.term);
    octets.put_u64(leader.node_id);
    octets.put_u8(kind);
    octets.put_slice(&body);
    Ok(Record { index: entry.log_id.index, payload: octets.freeze() })
}

/// Reads a record back.
pub fn from_record(record: &Record) -> io::Result<LogEntry> {
    let (log_id, kind, body) = split(record)?;
    let payload = match kind {
        KIND_BLANK => EntryPayload::Blank,
        KIND_NORMAL => EntryPayload::Normal(Payload(body)),
        KIND_MEMBERSHIP => EntryPayload::Membership(decode_config(&body)?),
        other => return Err(damaged(record.index, format!("kind {other} is not known"))),
    };
    Ok(LogEntry { log_id, payload })
}

/// Reads only the id of a record's entry.
pub fn id_of(record: &Record) -> io::Result<EntryId> {
    split(record).map(|(log_id, ..)| log_id)
}

fn split(record: &Record) -> io::Result<(EntryId, u8, Bytes)> {
    let octets = &record.payload;
    let head = octets.first_chunk::<RECORD_HEAD>();
    let Some([version, middle @ .., kind]) = head else {
        return Err(damaged(record.index, "it is too short".to_owned()));
    };
    if *version != RECORD_VERSION {
        return Err(damaged(record.index, format!("version {version} is not known")));
    }
    let [t0, t1, t2, t3, t4, t5, t6, t7, n0, n1, n2, n3, n4, n5, n6, n7] = *middle;
    let leader_id = LeaderId {
        term: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        node_id: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
    };
    Ok((LogId::new(leader_id, record.index), *kind, octets.slice(RECORD_HEAD..)))
}

fn encode_config(membership: &Membership<u64, Member>) -> io::Result<Bytes> {
    let stored = StoredConfig {
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
    };
    encode(&stored).map(Bytes::from)
}

fn decode_config(octets: &[u8]) -> io::Result<Membership<u64, Member>> {
    let stored: StoredConfig = decode(octets)?;
    Membership::new(stored.configs, stored.nodes).map_err(|error| invalid(error.to_string()))
}

/// Postcard octets of a value of our own or of consensus.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| invalid(error.to_string()))
}

/// Reads postcard octets; octets left over are an error.
pub fn decode<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> io::Result<T> {
    match postcard::take_from_bytes(octets) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(invalid("octets are left over".to_owned())),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn damaged(index: u64, why: String) -> io::Error {
    invalid(format!("log record {index}: {why}"))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Octets as one run instead of one number each.
mod octets {
    use std::fmt;

    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(octets: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(octets)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_bytes(Octets)
    }

    struct Octets;

    impl de::Visitor<'_> for Octets {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("octets")
        }

        fn visit_bytes<E: de::Error>(self, octets: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(octets))
        }

        fn visit_byte_buf<E: de::Error>(self, octets: Vec<u8>) -> Result<Bytes, E> {
            Ok(Bytes::from(octets))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: EntryPayload<Payload, u64, Member>) -> LogEntry {
        LogEntry { log_id: LogId::new(LeaderId { term: 7, node_id: 2 }, 41), payload }
    }

    #[test]
    fn every_kind_of_entry_comes_back() {
        let member = Member { name: "n1".into(), address: "h:1".into(), http: "u".into() };
        let membership =
            Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member)])).unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Bytes::from_static(b"change"))),
            EntryPayload::Membership(membership),
        ] {
            let entry = entry(payload);
            let record = to_record(&entry).unwrap();
            assert_eq!(from_record(&record).unwrap(), entry);
            assert_eq!(id_of(&record).unwrap(), entry.log_id);
            let wire = encode(&entry).unwrap();
            assert_eq!(decode::<LogEntry>(&wire).unwrap(), entry);
        }
    }

    #[test]
    fn damaged_records_are_told() {
        let good = to_record(&entry(EntryPayload::Blank)).unwrap();
        let with = |at: usize, octet: u8| {
            let mut payload = good.payload.to_vec();
            payload[at] = octet;
            from_record(&Record { index: 41, payload: payload.into() }).unwrap_err().to_string()
        };
        assert!(with(0, 9).contains("version"));
        assert!(with(RECORD_HEAD - 1, 9).contains("kind"));
        assert!(with(RECORD_HEAD - 1, KIND_MEMBERSHIP).contains(""));
        let short = Record { index: 1, payload: Bytes::from_static(b"\x01") };
        assert!(from_record(&short).unwrap_err().to_string().contains("short"));
    }
}
