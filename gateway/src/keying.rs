//! What the head-end has to prove itself to a meter, and the settings of an association made of it.
//! The one place where keys of the cluster become keys of the wire.
//!
//! Invariant: what [`Keying::check`] takes, an association can be opened with.

use cosem::association::{Authentication, ClientConfig, Wrapping};
use cosem::security::{
    AgreementKey, AgreementPublic, Credentials, Kek, Policy, SigningKey, VerifyingKey,
};
use cosem::{Error, Keys, Secret, Suite};
use domain::assets::{self, Authentication as Level, Security};
use zeroize::Zeroizing;

use crate::upcall::{MeterAccess, MeterCredentials, MeterKeys};

/// Bits of a policy that demand signatures.
const SIGNED: u8 = 0x90;

/// Authentication, protection and keys of one meter.
pub struct Keying<'a> {
    /// How the association proves itself.
    pub authentication: Level,
    /// How services are protected.
    pub security: &'a Security,
    /// Password of LLS, secret of HLS 3, 4 and 6.
    pub secret: Option<&'a [u8]>,
    /// GUEK and GAK.
    pub keys: Option<&'a MeterKeys>,
    /// Keys for signatures, agreements and other keys.
    pub credentials: &'a MeterCredentials,
}

/// Why no association can be opened with what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// Something that the authentication or the policy needs is not there.
    Lacks(&'static str),
    /// A key is none of the suite.
    BadKey(String),
}

/// Random octets for one association.
#[derive(Default)]
pub(crate) struct Fresh {
    /// A challenge.
    pub challenge: [u8; 32],
    /// A dedicated key, where the meter is spoken to under one.
    pub key: Zeroizing<[u8; 32]>,
}

impl Fresh {
    /// Draws them; they must be used for one association alone.
    pub fn draw(random: fn() -> [u8; 32]) -> Self {
        Self { challenge: random(), key: Zeroizing::new(random()) }
    }
}

impl MeterAccess {
    /// What there is to prove.
    pub(crate) fn keying(&self) -> Keying<'_> {
        Keying {
            authentication: self.authentication,
            security: &self.security,
            secret: self.secret.as_ref().map(|secret| secret.as_slice()),
            keys: self.keys.as_ref(),
            credentials: &self.credentials,
        }
    }
}

impl Keying<'_> {
    /// Whether an association can be opened with it.
    ///
    /// # Errors
    /// What lacks, or which key does not fit the suite.
    pub fn check(&self) -> Result<(), Unfit> {
        self.lacks().map_err(Unfit::Lacks)?;
        // Any access points and titles: only what is made of the keys counts.
        let mut config = ClientConfig::new(1, 1, [0; 8]);
        self.apply(&mut config, &Fresh::default()).map_err(|error| Unfit::BadKey(error.to_string()))
    }

    /// What the authentication or the policy needs and is not there.
    pub(crate) fn lacks(&self) -> Result<(), &'static str> {
        let Self { authentication, security, secret, keys, credentials } = self;
        let has_signing = credentials.signing.is_some() && credentials.peer_signing.is_some();
        match authentication {
            Level::Lls if secret.is_none() => Err("no password is installed"),
            Level::Hls3 | Level::Hls4 | Level::Hls6 if secret.is_none() => {
                Err("no secret is installed")
            }
            Level::Hls5 if keys.is_none() => Err("no keys are installed"),
            Level::Hls7 if !has_signing => Err("no signing keys are installed"),
            _ if keys.is_none() && security.dedicated_key => {
                Err("a dedicated key needs keys to send it under")
            }
            _ if keys.is_some() && security.policy.0 & SIGNED != 0 && !has_signing => {
                Err("the policy demands signatures, and no signing keys are installed")
            }
            _ => Ok(()),
        }
    }

    /// Puts authentication, keys and policy into the settings of an association.
    pub(crate) fn apply(&self, config: &mut ClientConfig, fresh: &Fresh) -> Result<(), Error> {
        let suite = suite(self.security.suite);
        let keys = match self.keys {
            Some(keys) => Some(Keys::in_suite(suite, &keys.guek, &keys.gak)?),
            None => None,
        };
        let secret = || self.secret.map(Secret::new).ok_or(Error::NoKeys);
        config.authentication = match self.authentication {
            Level::None => Authentication::None,
            Level::Lls => Authentication::Lls(secret()?),
            Level::Hls3 => Authentication::Hls3(secret()?),
            Level::Hls4 => Authentication::Hls4(secret()?),
            Level::Hls5 => Authentication::Hls5(keys.clone().ok_or(Error::NoKeys)?),
            Level::Hls6 => Authentication::Hls6(secret()?),
            Level::Hls7 => Authentication::Hls7,
        };
        config.credentials = credentials(suite, self.credentials)?;
        if keys.is_some() {
            config.policy = Policy::from_v1(self.security.policy.0)?;
            config.wrapping = match self.security.wrapping {
                assets::Wrapping::Service => Wrapping::Service,
                assets::Wrapping::General => Wrapping::General,
                assets::Wrapping::Ciphering => Wrapping::Ciphering,
            };
            let key = fresh.key.get(..suite.key_octets());
            config.dedicated_key = key.filter(|_| self.security.dedicated_key).map(Secret::new);
        }
        config.ciphered = keys;
        Ok(())
    }
}

fn suite(suite: assets::Suite) -> Suite {
    match suite {
        assets::Suite::Zero => Suite::Zero,
        assets::Suite::One => Suite::One,
        assets::Suite::Two => Suite::Two,
    }
}

/// The keys for signatures and agreements, each on the suite's curve.
fn credentials(suite: Suite, own: &MeterCredentials) -> Result<Credentials, Error> {
    type Octets = Option<Zeroizing<Vec<u8>>>;
    fn key<K>(
        octets: &Octets,
        read: fn(Suite, &[u8]) -> Result<K, Error>,
        suite: Suite,
    ) -> Result<Option<K>, Error> {
        octets.as_ref().map(|octets| read(suite, octets)).transpose()
    }
    Ok(Credentials {
        kek: key(&own.kek, Kek::new, suite)?,
        signing: key(&own.signing, SigningKey::new, suite)?,
        peer_signing: key(&own.peer_signing, VerifyingKey::new, suite)?,
        agreement: key(&own.agreement, AgreementKey::new, suite)?,
        peer_agreement: key(&own.peer_agreement, AgreementPublic::new, suite)?,
    })
}
