//! Classes of protection: 64 security setup, 30 data protection (Blue Book 4.4.7, 4.4.9). Keys
//! are wrapped before they come here; how, stands in `crate::security`.

use bytes::Bytes;

use super::value::{Coded, Wrong, class, codes, structure};
use super::{Call, call};
use crate::apdu::LogicalName;
use crate::data::Data;

codes! {
    /// Algorithms that go together.
    SuiteCode {
        /// AES-GCM-128, AES-128 key wrap.
        0 Suite0,
        /// And ECDSA, ECDH on P-256, SHA-256.
        1 Suite1,
        /// AES-GCM-256, ECDSA, ECDH on P-384, SHA-384.
        2 Suite2,
    }
}

codes! {
    /// Which key is meant.
    KeyId {
        /// Global unicast encryption key.
        0 UnicastEncryption,
        /// Global broadcast encryption key.
        1 BroadcastEncryption,
        /// Authentication key.
        2 Authentication,
        /// Master key, the one that wraps.
        3 Master,
    }
}

structure! {
    /// A key that is given to a device.
    WrappedKey {
        /// Which key.
        key_id: KeyId,
        /// Wrapped with the master key (RFC 3394).
        key_wrapped: Bytes,
    }
}

structure! {
    /// One side's part of a key agreement.
    AgreementKey {
        /// Which key is agreed on.
        key_id: KeyId,
        /// Ephemeral public key and its signature.
        key_data: Bytes,
    }
}

codes! {
    /// Whose certificate it is.
    CertificateEntity {
        /// The server.
        0 Server,
        /// The client.
        1 Client,
        /// A certificate authority.
        2 Authority,
        /// Another.
        3 ThirdParty,
    }
}

codes! {
    /// What a certificate is for.
    CertificateKind {
        /// Signatures.
        0 DigitalSignature,
        /// Key agreement.
        1 KeyAgreement,
        /// TLS.
        2 Tls,
    }
}

structure! {
    /// A certificate that the device holds.
    Certificate {
        /// Whose it is.
        certificate_entity: CertificateEntity,
        /// What it is for.
        certificate_type: CertificateKind,
        /// Serial number.
        serial_number: Bytes,
        /// Who issued it.
        issuer: Bytes,
        /// Of whom it speaks.
        subject: Bytes,
        /// His other name.
        subject_alt_name: Bytes,
    }
}

class! {
    /// Class 64, security setup.
    SecuritySetup, 64, "security setup", versions 0 to 1;
    attributes {
        /// security_policy: version 0 a number 0 to 3, version 1 bits.
        2 POLICY security_policy: Policy,
        /// security_suite.
        3 SUITE security_suite: SuiteCode,
        /// client_system_title.
        4 CLIENT_TITLE client_system_title: Bytes,
        /// server_system_title.
        5 SERVER_TITLE server_system_title: Bytes,
        /// certificates.
        6 / 1 CERTIFICATES certificates: Vec<Certificate>,
    }
    methods {
        /// Method security_activate.
        1 ACTIVATE "security_activate",
        /// Method key_transfer; global_key_transfer in version 0.
        2 KEY_TRANSFER "key_transfer",
        /// Method key_agreement.
        3 / 1 KEY_AGREEMENT "key_agreement",
        /// Method generate_key_pair.
        4 / 1 GENERATE_KEY_PAIR "generate_key_pair",
        /// Method generate_certificate_request.
        5 / 1 CERTIFICATE_REQUEST "generate_certificate_request",
        /// Method import_certificate.
        6 / 1 IMPORT_CERTIFICATE "import_certificate",
        /// Method export_certificate.
        7 / 1 EXPORT_CERTIFICATE "export_certificate",
        /// Method remove_certificate.
        8 / 1 REMOVE_CERTIFICATE "remove_certificate",
    }
}

/// What protection a device demands; its meaning depends on the version of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy(pub u8);

impl Policy {
    /// Whether requests must be authenticated.
    #[must_use]
    pub const fn authenticated_requests(self, version: u8) -> bool {
        if version == 0 { self.0 & 1 != 0 } else { self.0 & 0x04 != 0 }
    }

    /// Whether requests must be encrypted.
    #[must_use]
    pub const fn encrypted_requests(self, version: u8) -> bool {
        if version == 0 { self.0 & 2 != 0 } else { self.0 & 0x08 != 0 }
    }

    /// Whether requests must be signed.
    #[must_use]
    pub const fn signed_requests(self, version: u8) -> bool {
        version > 0 && self.0 & 0x10 != 0
    }
}

impl Coded for Policy {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        u8::from_data(data).map(Self).map_err(|_| Wrong::expected("an enum"))
    }

    fn to_data(&self) -> Data {
        Data::Enum(self.0)
    }
}

/// Demands more protection from now on; it cannot be lowered.
#[must_use]
pub fn security_activate(name: LogicalName, policy: Policy) -> Call {
    call(ID, name, ACTIVATE, &policy)
}

/// Gives keys to the device; they hold after its answer.
#[must_use]
pub fn key_transfer(name: LogicalName, keys: &Vec<WrappedKey>) -> Call {
    call(ID, name, KEY_TRANSFER, keys)
}

/// Agrees on keys; the answer holds the device's parts.
#[must_use]
pub fn key_agreement(name: LogicalName, keys: &Vec<AgreementKey>) -> Call {
    call(ID, name, KEY_AGREEMENT, keys)
}

/// Has a key pair made.
#[must_use]
pub fn generate_key_pair(name: LogicalName, kind: CertificateKind) -> Call {
    call(ID, name, GENERATE_KEY_PAIR, &kind)
}

/// Has a request for a certificate made; it is the answer.
#[must_use]
pub fn generate_certificate_request(name: LogicalName, kind: CertificateKind) -> Call {
    call(ID, name, CERTIFICATE_REQUEST, &kind)
}

/// Gives the device a certificate (X.509, DER).
#[must_use]
pub fn import_certificate(name: LogicalName, certificate: &Bytes) -> Call {
    call(ID, name, IMPORT_CERTIFICATE, certificate)
}

structure! {
    /// A certificate named by its serial number.
    CertificateBySerial {
        /// Serial number.
        serial_number: Bytes,
        /// Who issued it.
        issuer: Bytes,
    }
}

/// How a certificate is named.
#[derive(Debug, Clone, PartialEq)]
pub enum CertificateName {
    /// By whose it is: entity, what for, his system title.
    Entity(CertificateByEntity),
    /// By its serial number.
    Serial(CertificateBySerial),
}

structure! {
    /// A certificate named by whose it is.
    CertificateByEntity {
        /// Whose it is.
        certificate_entity: CertificateEntity,
        /// What it is for.
        certificate_type: CertificateKind,
        /// His system title.
        system_title: Bytes,
    }
}

impl Coded for CertificateName {
    fn from_data(data: &Data) -> Result<Self, Wrong> {
        match data.as_structure() {
            Some([kind, name]) => match u8::from_data(kind)? {
                0 => Coded::from_data(name).map(Self::Entity),
                1 => Coded::from_data(name).map(Self::Serial),
                _ => Err(Wrong::expected("identification type 0 or 1")),
            },
            _ => Err(Wrong::expected("a structure {type, options}")),
        }
    }

    fn to_data(&self) -> Data {
        let (kind, name) = match self {
            Self::Entity(name) => (0, name.to_data()),
            Self::Serial(name) => (1, name.to_data()),
        };
        Data::Structure(vec![Data::Enum(kind), name])
    }
}

/// Asks for a certificate; it is the answer.
#[must_use]
pub fn export_certificate(name: LogicalName, certificate: &CertificateName) -> Call {
    call(ID, name, EXPORT_CERTIFICATE, certificate)
}

/// Takes a certificate away.
#[must_use]
pub fn remove_certificate(name: LogicalName, certificate: &CertificateName) -> Call {
    call(ID, name, REMOVE_CERTIFICATE, certificate)
}

/// Class 30.
pub mod data_protection {
    use super::{Bytes, Call, Data, LogicalName, call, class, codes, structure};
    use crate::class::push_setup::PushObject;

    codes! {
        /// What is done to the data.
        ProtectionType {
            /// Authenticated.
            0 Authentication,
            /// Encrypted.
            1 Encryption,
            /// Authenticated and encrypted.
            2 AuthenticatedEncryption,
            /// Signed.
            3 Signature,
        }
    }

    structure! {
        /// One layer of protection.
        ProtectionParameters {
            /// What is done.
            protection_type: ProtectionType,
            /// Between whom and with which key.
            protection_options: Data,
        }
    }

    class! {
        /// Class 30, data protection.
        DataProtection, 30, "data protection", versions 0 to 0;
        attributes {
            /// protection_buffer: protected data.
            2 BUFFER protection_buffer: Bytes,
            /// protection_object_list: what is protected.
            3 OBJECT_LIST protection_object_list: Vec<PushObject>,
            /// protection_parameters_get.
            4 PARAMETERS_GET protection_parameters_get: Vec<ProtectionParameters>,
            /// protection_parameters_set.
            5 PARAMETERS_SET protection_parameters_set: Vec<ProtectionParameters>,
            /// required_protection: bits as of a security policy.
            6 REQUIRED required_protection: u8,
        }
        methods {
            /// Method get_protected_attributes.
            1 GET_PROTECTED "get_protected_attributes",
            /// Method set_protected_attributes.
            2 SET_PROTECTED "set_protected_attributes",
            /// Method invoke_protected_method.
            3 INVOKE_PROTECTED "invoke_protected_method",
        }
    }

    structure! {
        /// Attributes that are read under protection.
        GetProtected {
            /// Which.
            object_list: Vec<PushObject>,
            /// How.
            get_protection_parameters: Vec<ProtectionParameters>,
        }
    }

    structure! {
        /// Attributes that are written under protection.
        SetProtected {
            /// Which.
            object_list: Vec<PushObject>,
            /// How.
            set_protection_parameters: Vec<ProtectionParameters>,
            /// Their values, protected.
            protected_attributes: Bytes,
        }
    }

    structure! {
        /// A method that is invoked under protection.
        InvokeProtected {
            /// Class, logical name and method.
            object_method: Data,
            /// How the parameter is protected.
            set_protection_parameters: Vec<ProtectionParameters>,
            /// The parameter, protected.
            protected_parameter: Bytes,
            /// How the answer is protected.
            get_protection_parameters: Vec<ProtectionParameters>,
        }
    }

    /// Reads attributes under protection.
    #[must_use]
    pub fn get_protected_attributes(name: LogicalName, wanted: &GetProtected) -> Call {
        call(ID, name, GET_PROTECTED, wanted)
    }

    /// Writes attributes under protection.
    #[must_use]
    pub fn set_protected_attributes(name: LogicalName, values: &SetProtected) -> Call {
        call(ID, name, SET_PROTECTED, values)
    }

    /// Invokes a method under protection.
    #[must_use]
    pub fn invoke_protected_method(name: LogicalName, invoked: &InvokeProtected) -> Call {
        call(ID, name, INVOKE_PROTECTED, invoked)
    }
}
