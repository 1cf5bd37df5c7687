//! Secrets of a node: the admin token, tokens of sessions, and the master key that wraps meter
//! keys.
//!
//! Not TLS keys (rustls holds those). Invariants: nothing here prints a secret, in `Debug` or in
//! an error; comparisons of secrets take the same time wherever they differ; plain key octets are
//! zeroised when dropped.

use std::fmt;
use std::path::Path;

use aes_kw::{KeyInit, KwpAes256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::drills::signature::{NoKey, Signer};
use crate::exit::Failure;

/// The longest plain secret that is wrapped: passwords have up to 64 octets, a public key of P-384
/// has 96.
const MAX_PLAIN: usize = 96;

/// Wraps and unwraps meter keys (AES key wrap with padding, RFC 5649), and signs sessions.
pub struct MasterKey {
    octets: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// A wrapped key does not open: another master key wrapped it, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key does not unwrap with this node's master key")]
pub struct DoesNotUnwrap;

impl MasterKey {
    /// A master key of these octets.
    pub fn new(octets: [u8; 32]) -> MasterKey {
        MasterKey { octets: Zeroizing::new(octets) }
    }

    /// Reads a file of 64 hexadecimal digits.
    pub fn load(path: &Path) -> Result<MasterKey, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::file("cannot read the master key", path, &error))?;
        let text = Zeroizing::new(text);
        let octets = Zeroizing::new(unhex(text.trim()).unwrap_or_default());
        let octets: [u8; 32] = octets.as_slice().try_into().map_err(|_| {
            let text = format!("{} does not hold 64 hexadecimal digits", path.display());
            Failure::failed("master_key_malformed", text)
        })?;
        Ok(MasterKey::new(octets))
    }

    /// Names the key without telling anything about it: two nodes with one key have one id.
    pub fn id(&self) -> [u8; 8] {
        let hash = blake3::derive_key("holdfast 2026 wrap id", self.octets.as_slice());
        let mut id = [0; 8];
        id.copy_from_slice(&hash[..8]);
        id
    }

    /// Wraps 1 to 96 octets.
    pub fn wrap(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.is_empty() || plain.len() > MAX_PLAIN {
            return None;
        }
        let mut out = vec![0; plain.len().div_ceil(8) * 8 + 8];
        self.cipher().wrap_key(plain, &mut out).ok()?;
        Some(out)
    }

    /// Opens what [`MasterKey::wrap`] made, on any node.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotUnwrap> {
        if wrapped.len() < 16 || wrapped.len() > MAX_PLAIN + 16 {
            return Err(DoesNotUnwrap);
        }
        let mut out = Zeroizing::new(vec![0; wrapped.len() - 8]);
        let length = self.cipher().unwrap_key(wrapped, &mut out).map_err(|_| DoesNotUnwrap)?.len();
        out.truncate(length);
        Ok(out)
    }

    /// Makes a token of a session: random, and signed so that a made-up one costs no look-up.
    pub fn session(&self, nonce: [u8; 16]) -> Zeroizing<String> {
        let body = format!("hfs2.{}", hex(&nonce));
        let mac = self.session_mac(&body);
        Zeroizing::new(format!("{body}.{}", mac.to_hex()))
    }

    /// Whether a token was made here or on another node of the cluster. Whether its session holds,
    /// the replicated state says.
    pub fn made_session(&self, token: &str) -> bool {
        let Some((body, mac)) = token.rsplit_once('.') else { return false };
        let Some(given) = unhex(mac).and_then(|octets| <[u8; 32]>::try_from(octets).ok()) else {
            return false;
        };
        let genuine = bool::from(self.session_mac(body).as_bytes().ct_eq(&given));
        genuine && body.starts_with("hfs2.")
    }

    /// What is mixed into every password's hash.
    pub fn pepper(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key("holdfast 2026 password", self.octets.as_slice()))
    }

    /// The cluster's seal over a drill's report: every node can make it and tell a false one, and
    /// nobody else can.
    pub fn seal(&self, drill: u64, report: &[u8]) -> [u8; 32] {
        let key = Zeroizing::new(blake3::derive_key(
            "holdfast 2026 drill report",
            self.octets.as_slice(),
        ));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&drill.to_be_bytes());
        hasher.update(report);
        *hasher.finalize().as_bytes()
    }

    /// Whether a seal is this cluster's, over this report of this drill.
    pub fn seal_holds(&self, drill: u64, report: &[u8], seal: &[u8; 32]) -> bool {
        bool::from(self.seal(drill, report).ct_eq(seal))
    }

    /// What signs drills' reports for whoever has the public key: the same on every node.
    ///
    /// # Errors
    /// The library takes no such key.
    pub fn signer(&self) -> Result<Signer, NoKey> {
        let seed = blake3::derive_key("holdfast 2026 report signature", self.octets.as_slice());
        Signer::new(&Zeroizing::new(seed))
    }

    fn session_mac(&self, body: &str) -> blake3::Hash {
        let key =
            Zeroizing::new(blake3::derive_key("holdfast 2026 session", self.octets.as_slice()));
        blake3::keyed_hash(&key, body.as_bytes())
    }

    fn cipher(&self) -> KwpAes256 {
        KwpAes256::new((&*self.octets).into())
    }
}

/// A new admin token: 256 random bits.
pub fn new_token() -> Result<Zeroizing<String>, Failure> {
    let octets = Zeroizing::new(random::<32>()?);
    Ok(Zeroizing::new(format!("hfa_{}", hex(octets.as_slice()))))
}

/// What a configuration keeps of a token. The token has 256 random bits, so one hash is enough.
pub fn token_hash(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

/// Whether a token has this hash; takes the same time for every wrong one.
pub fn token_matches(token: &str, hash_hex: &str) -> bool {
    let Some(expected) = unhex(hash_hex).and_then(|octets| <[u8; 32]>::try_from(octets).ok())
    else {
        return false;
    };
    bool::from(blake3::hash(token.as_bytes()).as_bytes().ct_eq(&expected))
}

/// Random octets of the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets)
        .map_err(|error| Failure::failed("no_random", format!("no random octets: {error}")))?;
    Ok(octets)
}

/// Lower-case hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]).collect()
}

/// Octets of hexadecimal digits; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut octets = Vec::with_capacity(digits.len() / 2);
    for pair in digits.chunks_exact(2) {
        let [high, low] = pair else { return None };
        match (nibble(high), nibble(low)) {
            (Some(high), Some(low)) => octets.push(high << 4 | low),
            _ => {
                octets.zeroize();
                return None;
            }
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_as_rfc_5649_and_opens_again() {
        let master = MasterKey::new([7; 32]);
        for length in [1, 7, 8, 9, 16, 17, 64, 96] {
            let plain: Vec<u8> = (0..length).collect();
            let wrapped = master.wrap(&plain).expect("of legal length");
            assert!(wrapped.len() >= 16 && wrapped.len().is_multiple_of(8));
            assert_eq!(*master.unwrap(&wrapped).expect("own"), plain);
            assert_eq!(MasterKey::new([8; 32]).unwrap(&wrapped), Err(DoesNotUnwrap));
            let mut damaged = wrapped.clone();
            damaged[3] ^= 1;
            assert_eq!(master.unwrap(&damaged), Err(DoesNotUnwrap));
        }
        assert!(master.wrap(&[]).is_none());
        assert!(master.wrap(&[0; 97]).is_none());
        for length in [0, 8, 15, 17, 200] {
            assert_eq!(master.unwrap(&vec![0; length]), Err(DoesNotUnwrap));
        }
    }

    #[test]
    fn session_tokens_cannot_be_made_up() {
        let master = MasterKey::new([7; 32]);
        let token = master.session([1; 16]);
        assert!(master.made_session(&token));
        assert!(!MasterKey::new([8; 32]).made_session(&token), "another cluster");
        let other = token.replacen("0101", "0201", 1);
        assert_ne!(other, *token);
        assert!(!master.made_session(&other), "another nonce");
        for text in ["", ".", "hfs2", "hfs2.01", "hfs2.01.zz"] {
            assert!(!master.made_session(text), "{text}");
        }
    }

    #[test]
    fn a_seal_is_of_one_cluster_one_drill_and_one_report() {
        let master = MasterKey::new([7; 32]);
        let seal = master.seal(12, b"passed");
        assert!(master.seal_holds(12, b"passed", &seal));
        assert!(!master.seal_holds(12, b"failed", &seal), "changed");
        assert!(!master.seal_holds(13, b"passed", &seal), "of another drill");
        assert!(!MasterKey::new([8; 32]).seal_holds(12, b"passed", &seal), "another cluster");
    }

    #[test]
    fn tokens_match_their_hash_only() {
        let token = new_token().expect("random octets");
        let hash = token_hash(&token);
        assert!(token_matches(&token, &hash));
        assert!(!token_matches("hfa_0", &hash));
        assert!(!token_matches(&token, ""));
    }

    #[test]
    fn hex_both_ways() {
        assert_eq!(hex(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(unhex("00ABff"), Some(vec![0, 0xab, 0xff]));
        for wrong in ["0", "0g", "é0"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
