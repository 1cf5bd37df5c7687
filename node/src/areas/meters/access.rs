//! How a new meter is logged in to: authentication, suite, policy and keys, as an operator writes
//! them.
//!
//! Invariants: what is registered can be opened, for it is checked with the code that opens it; no
//! problem text holds a key; keys leave this module wrapped.

use domain::assets::{Authentication, Policy, Security, Suite, Wrapping};
use domain::keys::KeyKind;
use domain::units::address::Protocol;
use domain::{Address, assets};
use gateway::{Keying, MeterCredentials, MeterKeys, Unfit};
use zeroize::Zeroizing;

use super::NewMeter;
use crate::app::App;
use crate::areas::keys::{self, SecretHex, Wrapped};
use crate::http::problem::Problem;
use crate::secret::unhex;

/// Authentications by name.
const AUTHENTICATIONS: [(&str, Authentication); 7] = [
    ("none", Authentication::None),
    ("lls", Authentication::Lls),
    ("hls3", Authentication::Hls3),
    ("hls4", Authentication::Hls4),
    ("hls5", Authentication::Hls5),
    ("hls6", Authentication::Hls6),
    ("hls7", Authentication::Hls7),
];

/// Wrappings by name.
const WRAPPINGS: [(&str, Wrapping); 3] = [
    ("service", Wrapping::Service),
    ("general", Wrapping::General),
    ("ciphering", Wrapping::Ciphering),
];

/// The word for an authentication.
pub fn name(authentication: Authentication) -> &'static str {
    let of = |(_, known): &&(&str, Authentication)| *known == authentication;
    AUTHENTICATIONS.iter().find(of).map_or("none", |(name, _)| name)
}

/// The word for a wrapping.
pub fn wrapping_name(wrapping: Wrapping) -> &'static str {
    WRAPPINGS.iter().find(|(_, known)| *known == wrapping).map_or("service", |(name, _)| name)
}

/// A policy as an operator writes it: `0` to `3`, or `v1:` and two hex digits.
pub fn policy_text(policy: Policy) -> String {
    policy.to_v0().map_or_else(|| format!("v1:{:02x}", policy.0), |number| number.to_string())
}

/// Takes what is left out from the model, for a meter with an address of its own.
pub fn follow_model(app: &App, new: &mut NewMeter) {
    let Some(model) = app.models().get(&new.model).filter(|_| new.address.is_some()) else {
        return;
    };
    let access = &model.file.access;
    new.auth = new.auth.take().or_else(|| access.authentication.clone());
    new.suite = new.suite.or(access.suite);
    new.client_sap = new.client_sap.or(access.client_sap);
    new.server_sap = new.server_sap.or(access.server_sap);
}

/// The authentication that is asked for.
pub fn authentication(new: &NewMeter) -> Result<Authentication, Problem> {
    let wanted = new.auth.as_deref().unwrap_or("none");
    let known = AUTHENTICATIONS.iter().find(|(name, _)| *name == wanted);
    known.map(|(_, authentication)| *authentication).ok_or_else(|| {
        Problem::bad("bad_auth", format!("{wanted:?} is not none, lls or hls3 to hls7"))
    })
}

/// The security that is asked for.
pub fn security(new: &NewMeter) -> Result<Security, Problem> {
    let bad = |text: String| Problem::bad("bad_security", text);
    let suite = Suite::of(new.suite.unwrap_or(0)).ok_or_else(|| bad("suite: 0, 1 or 2".into()))?;
    let policy = match new.policy.as_deref() {
        None => Policy::default(),
        Some(text) => {
            policy(text).ok_or_else(|| bad("policy: 0 to 3, or v1: and two hex digits".into()))?
        }
    };
    let wanted = new.wrapping.as_deref().unwrap_or("service");
    let wrapping = WRAPPINGS.iter().find(|(name, _)| *name == wanted);
    let (_, wrapping) =
        wrapping.ok_or_else(|| bad("wrapping: service, general or ciphering".into()))?;
    Ok(Security {
        suite,
        policy,
        wrapping: *wrapping,
        dedicated_key: new.dedicated_key.unwrap_or(false),
        client_title: new.client_title.as_deref().map(keys::system_title).transpose()?,
    })
}

fn policy(text: &str) -> Option<Policy> {
    match text.strip_prefix("v1:") {
        None => Policy::from_v0(text.parse().ok()?),
        Some(bits) => match unhex(bits)?.as_slice() {
            [bits] => Some(Policy(*bits)),
            _ => None,
        },
    }
}

/// Whether anything is given that only a meter with an address of its own has.
pub fn is_given(new: &NewMeter) -> bool {
    let security = new.suite.is_some() || new.policy.is_some() || new.wrapping.is_some();
    let more = new.dedicated_key.is_some() || new.client_title.is_some();
    let keys = [&new.kek, &new.signing_key, &new.meter_signing_key];
    let agreement = [&new.agreement_key, &new.meter_agreement_key];
    security || more || keys.into_iter().chain(agreement).any(|key| key.is_some())
}

/// The keys of a new meter, wrapped. Checked against its attachment when that is its own address.
pub fn keys(app: &App, new: &NewMeter, attach: &assets::Attach) -> Result<Vec<Wrapped>, Problem> {
    let plain = Plain::of(new)?;
    match attach {
        assets::Attach::Direct { address, authentication, security, .. } => {
            plain.check(address, *authentication, security)?;
        }
        // A meter behind a concentrator is spoken to in suite 0.
        assets::Attach::Behind { .. } => {
            for (name, key) in [("guek", &plain.guek), ("gak", &plain.gak)] {
                if key.as_ref().is_some_and(|key| key.len() != keys::KEY_OCTETS) {
                    return Err(keys::bad(name, "must have 16 octets, 32 hex digits"));
                }
            }
        }
    }
    plain.wrap(app)
}

type Octets = Option<Zeroizing<Vec<u8>>>;

/// What was given, as octets.
struct Plain {
    secret: Octets,
    guek: Octets,
    gak: Octets,
    credentials: MeterCredentials,
}

impl Plain {
    fn of(new: &NewMeter) -> Result<Self, Problem> {
        let read = |name: &str, given: &Option<SecretHex>| {
            given.as_ref().map(|text| keys::octets(name, &text.0)).transpose()
        };
        Ok(Self {
            secret: read("secret", &new.secret)?,
            guek: read("guek", &new.guek)?,
            gak: read("gak", &new.gak)?,
            credentials: MeterCredentials {
                kek: read("kek", &new.kek)?,
                signing: read("signing_key", &new.signing_key)?,
                peer_signing: read("meter_signing_key", &new.meter_signing_key)?,
                agreement: read("agreement_key", &new.agreement_key)?,
                peer_agreement: read("meter_agreement_key", &new.meter_agreement_key)?,
            },
        })
    }

    fn check(
        &self,
        address: &str,
        authentication: Authentication,
        security: &Security,
    ) -> Result<(), Problem> {
        let bad_auth = |text: &str| Err(Problem::bad("bad_auth", text));
        let is_local = Address::parse(address)
            .is_ok_and(|address| matches!(address.protocol, Protocol::Local(_)));
        if is_local && !matches!(authentication, Authentication::None | Authentication::Lls) {
            return bad_auth("a meter of IEC 62056-21 knows none and lls");
        }
        if self.guek.is_some() != self.gak.is_some() {
            return bad_auth("guek and gak go together");
        }
        let keys = self.guek.clone().zip(self.gak.clone());
        let keys = keys.map(|(guek, gak)| MeterKeys { guek, gak });
        let defaults = Security {
            suite: security.suite,
            client_title: security.client_title,
            ..Security::default()
        };
        if keys.is_none() && *security != defaults {
            return bad_auth("policy, wrapping and dedicated_key need guek and gak");
        }
        let keying = Keying {
            authentication,
            security,
            secret: self.secret.as_ref().map(|secret| secret.as_slice()),
            keys: keys.as_ref(),
            credentials: &self.credentials,
        };
        keying.check().map_err(|unfit| match unfit {
            Unfit::Lacks(what) => Problem::bad("bad_auth", what),
            Unfit::BadKey(why) => Problem::bad("bad_key", why),
        })
    }

    fn wrap(&self, app: &App) -> Result<Vec<Wrapped>, Problem> {
        let own = &self.credentials;
        let all = [
            ("guek", KeyKind::Guek, &self.guek),
            ("gak", KeyKind::Gak, &self.gak),
            ("secret", KeyKind::LlsSecret, &self.secret),
            ("kek", KeyKind::Kek, &own.kek),
            ("signing_key", KeyKind::Signing, &own.signing),
            ("meter_signing_key", KeyKind::PeerSigning, &own.peer_signing),
            ("agreement_key", KeyKind::Agreement, &own.agreement),
            ("meter_agreement_key", KeyKind::PeerAgreement, &own.peer_agreement),
        ];
        let given =
            all.into_iter().filter_map(|(name, kind, key)| Some((name, kind, key.as_ref()?)));
        given.map(|(name, kind, key)| keys::wrap_octets(app, name, kind, key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::assets::Policy;

    use super::{policy, policy_text};

    #[test]
    fn policies_are_written_as_they_are_read() {
        for text in ["0", "1", "2", "3", "v1:fc", "v1:10"] {
            assert_eq!(policy(text).map(policy_text).as_deref(), Some(text));
        }
        assert_eq!(policy("v1:6c"), Some(Policy::default()));
        for text in ["", "4", "-1", "v1:", "v1:6", "v1:06c", "6c", "v2:00", "v1:+1"] {
            assert_eq!(policy(text), None, "{text}");
        }
    }
}
