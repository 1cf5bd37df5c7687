//! The registry of a field: what a head-end must know to talk to it, keys included.
//!
//! It is the one place where keys leave the simulator, so the file is readable by its owner only.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::field::{Access, ConcentratorModel, Hls, Key, MeterModel};
use crate::suites::{Proof, Secured, of_head_end, symmetric};

/// A registry; the file is this as one JSON document. Octets are hex.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Registry {
    /// Concentrators.
    pub concentrators: Vec<ConcentratorEntry>,
    /// Meters, those behind concentrators and those with an address of their own.
    pub meters: Vec<MeterEntry>,
}

/// A concentrator that may dial.
#[derive(Clone, Serialize, Deserialize)]
pub struct ConcentratorEntry {
    /// Logical device name.
    pub id: String,
    /// System title, 8 octets.
    pub system_title: String,
    /// Serial number.
    pub serial: String,
    /// Global unicast encryption key, 16 octets.
    pub guek: String,
    /// Global authentication key, 16 octets.
    pub gak: String,
    /// A name for people.
    pub name: String,
}

/// A meter.
#[derive(Clone, Serialize, Deserialize)]
pub struct MeterEntry {
    /// Serial number; behind a concentrator also the physical device address.
    pub serial: String,
    /// The concentrator that it is behind, if it is.
    pub concentrator: Option<String>,
    /// Where a meter is dialled: `host:port`, or with a scheme `hdlc+tcp://host:port?physical=17`,
    /// `iec+tcp://host:port?device=SERIAL&mode=c`, `mode-e+tcp://...`, or `...+serial://path`.
    pub address: Option<String>,
    /// Client SAP to use.
    pub client_sap: u16,
    /// Server SAP (logical device) to use.
    pub server_sap: u16,
    /// `none`, `lls` or `hls3` to `hls7`.
    pub authentication: String,
    /// Security suite of the keys.
    #[serde(default)]
    pub suite: u8,
    /// Security policy where it is not that of `hls5`: `v1:` and two hex digits.
    #[serde(default)]
    pub policy: Option<String>,
    /// Secret of LLS and of HLS 3, 4 and 6, hex.
    pub lls_secret: Option<String>,
    /// Global unicast encryption key; absent where services are not ciphered.
    pub guek: Option<String>,
    /// Global authentication key; absent where services are not ciphered.
    pub gak: Option<String>,
    /// Key-encryption key: what new keys have to be wrapped under.
    #[serde(default)]
    pub kek: Option<String>,
    /// The head-end's private signing key, hex.
    #[serde(default)]
    pub signing_key: Option<String>,
    /// The meter's public signing key, hex.
    #[serde(default)]
    pub meter_signing_key: Option<String>,
    /// Password of the reading client (SAP 32), hex; absent where nobody proves anything.
    #[serde(default)]
    pub reader_secret: Option<String>,
    /// System title.
    pub system_title: Option<String>,
    /// Type name.
    pub model: String,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (concentrators, meters) = (self.concentrators.len(), self.meters.len());
        write!(f, "Registry({concentrators} concentrators, {meters} meters)")
    }
}

impl ConcentratorEntry {
    /// The entry of a simulated concentrator.
    #[must_use]
    pub fn new(model: &ConcentratorModel) -> Self {
        Self {
            id: model.ldn.clone(),
            system_title: hex(&model.title),
            serial: model.serial.clone(),
            guek: hex(&model.guek.0),
            gak: hex(&model.gak.0),
            name: model.name.clone(),
        }
    }
}

impl MeterEntry {
    /// A simulated meter behind a concentrator.
    #[must_use]
    pub fn behind(concentrator: &str, meter: &MeterModel) -> Self {
        Self { concentrator: Some(concentrator.to_owned()), ..Self::of(meter) }
    }

    /// A simulated meter with an address of its own.
    #[must_use]
    pub fn direct(address: &str, server_sap: u16, meter: &MeterModel) -> Self {
        Self { address: Some(address.to_owned()), server_sap, ..Self::of(meter) }
    }

    /// The same, read by IEC 62056-21: a password at most.
    #[must_use]
    pub fn local(self) -> Self {
        let authentication = if self.lls_secret.is_some() { "lls" } else { "none" };
        Self {
            authentication: authentication.to_owned(),
            suite: 0,
            policy: None,
            guek: None,
            gak: None,
            kek: None,
            signing_key: None,
            meter_signing_key: None,
            reader_secret: None,
            system_title: None,
            model: "iec62056-21".to_owned(),
            ..self
        }
    }

    /// A real meter behind a concentrator, of which nothing but the serial is known.
    #[must_use]
    pub fn real(concentrator: &str, serial: &str) -> Self {
        Self {
            serial: serial.to_owned(),
            concentrator: Some(concentrator.to_owned()),
            address: None,
            client_sap: 16,
            server_sap: 1,
            authentication: "none".to_owned(),
            suite: 0,
            policy: None,
            lls_secret: None,
            guek: None,
            gak: None,
            kek: None,
            signing_key: None,
            meter_signing_key: None,
            reader_secret: None,
            system_title: None,
            model: "real".to_owned(),
        }
    }

    fn of(meter: &MeterModel) -> Self {
        let suite = meter.access.suite();
        let key = |key: &Key| suite.map(|suite| hex(&symmetric(suite, *key)));
        let signing = suite.and_then(|suite| of_head_end(suite, meter.kek).ok());
        let (signing, public) = signing.unzip();
        let (authentication, lls_secret) = match &meter.access {
            Access::None => ("none", None),
            Access::Lls(secret) => ("lls", Some(hex(&secret.0))),
            Access::Secret(hls, secret) => {
                let name = match hls {
                    Hls::Md5 => "hls3",
                    Hls::Sha1 => "hls4",
                    Hls::Sha256 => "hls6",
                };
                (name, Some(hex(&secret.0)))
            }
            Access::Hls5 => ("hls5", None),
            Access::Secured(Secured { proof: Proof::Gmac, .. }) => ("hls5", None),
            Access::Secured(Secured { proof: Proof::Ecdsa, .. }) => ("hls7", None),
        };
        Self {
            serial: meter.serial.clone(),
            concentrator: None,
            address: None,
            client_sap: if meter.access == Access::None { 16 } else { 1 },
            server_sap: 1,
            authentication: authentication.to_owned(),
            suite: suite.map_or(0, cosem::Suite::number),
            policy: matches!(meter.access, Access::Secured(_))
                .then(|| format!("v1:{:02x}", meter.access.policy())),
            lls_secret,
            guek: key(&meter.guek),
            gak: key(&meter.gak),
            kek: key(&meter.kek),
            signing_key: signing.map(|key| hex(&key)),
            meter_signing_key: public.map(|key| hex(&key)),
            reader_secret: (meter.access != Access::None).then(|| hex(&meter.reader.0)),
            system_title: Some(hex(&meter.title)),
            model: meter.model.to_owned(),
        }
    }
}

/// Writes the registry, whole or not at all, for its owner's eyes only.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, registry: &Registry) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    serde_json::to_writer(io::BufWriter::new(&mut file), registry)?;
    file.write_all(b"\n")?;
    fs::rename(&new, path)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{ConcentratorEntry, MeterEntry, Registry, write};
    use crate::field::{FieldConfig, concentrators};

    #[test]
    fn the_registry_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("field.json");
        let field = concentrators(&FieldConfig::default());
        let registry = Registry {
            concentrators: vec![ConcentratorEntry::new(&field[0])],
            meters: field[0].meters.iter().map(|m| MeterEntry::behind(&field[0].ldn, m)).collect(),
        };
        write(&path, &registry).unwrap();
        write(&path, &registry).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read: Registry = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((read.concentrators.len(), read.meters.len()), (1, 50));
        assert_eq!(read.meters[0].guek.as_ref().map(String::len), Some(32));
    }
}
