//! Passwords and second factors: how they are hashed, checked and made. Secrets stay in here.
//!
//! Invariants: a password is hashed by argon2id with 19 MiB, two passes and one lane (OWASP's
//! least for interactive logins), a random salt and a pepper that only nodes of the cluster have,
//! so a stolen table alone cannot be guessed at; few hashes run at a time, because each takes
//! memory and a core; an unknown name takes as long as a wrong password.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::app::App;
use crate::http::problem::Problem;
use crate::secret;

/// Hashes at a time on a node.
const AT_A_TIME: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(AT_A_TIME);

/// The least letters of a password (ASVS 5.0, V6.2.1: 8, better 15).
pub const LEAST: usize = 12;
/// The most: hashing costs by the octet.
const MOST: usize = 128;
/// Words that everybody here would try first (ASVS 5.0, V6.1.2).
const KNOWN_WORDS: [&str; 12] = [
    "holdfast",
    "admin",
    "operator",
    "dispatcher",
    "meter",
    "metering",
    "energy",
    "electricity",
    "utility",
    "concentrator",
    "vending",
    "tariff",
];
/// Octets of a second factor's secret (RFC 4226: at least 128 bits, 160 recommended).
const FACTOR_OCTETS: usize = 20;
/// Steps before and after now whose code is taken: a clock that is half a minute off.
const SKEW: u16 = 1;

/// A hash that nobody's password has: what an unknown name is checked against.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2Q\
    $aGFzaCBvZiBub2JvZHkncyBwYXNzd29yZCBhdCBhbGw";

/// Refuses a password that is too easy to guess.
///
/// Length counts, composition does not (ASVS 5.0, V6.2.5); what stands on lists of passwords,
/// repeats, runs on or is made of the login's or the product's name is no length.
pub fn check_quality(name: &str, password: &str) -> Result<(), Problem> {
    let weak = |why: &str| Err(Problem::bad("weak_password", why.to_owned()));
    let letters: Vec<char> = password.chars().collect();
    if letters.len() < LEAST || letters.len() > MOST {
        return weak(&format!("a password has {LEAST} to {MOST} letters; a phrase is good"));
    }
    if password.to_lowercase().contains(&name.to_lowercase()) {
        return weak("it contains the login name");
    }
    let known: Vec<&str> = KNOWN_WORDS.iter().copied().chain([name]).collect();
    if zxcvbn::zxcvbn(password, &known).score() < zxcvbn::Score::Three {
        return weak(
            "it is easy to guess: a known password, a name, a date, a row or a repetition",
        );
    }
    Ok(())
}

/// The hash of a password, in the PHC string format.
pub async fn hash(app: &App, password: Zeroizing<String>) -> Result<String, Problem> {
    let pepper = app.master().pepper();
    let salt = secret::random::<16>().map_err(|_| Problem::fault())?;
    run(move || {
        let hash = hasher(&*pepper)?.hash_password_with_salt(password.as_bytes(), &salt);
        hash.map(|hash| hash.to_string()).ok()
    })
    .await?
    .ok_or_else(Problem::fault)
}

/// Whether a password is the one of a hash; without a hash it is not, after the same time.
pub async fn verify(
    app: &App,
    password: Zeroizing<String>,
    hash: Option<String>,
) -> Result<bool, Problem> {
    // Hashing costs by the octet: what is too long is no password of ours.
    if password.len() > MOST * 4 {
        return Ok(false);
    }
    let pepper = app.master().pepper();
    let known = hash.is_some();
    let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
    run(move || {
        let hasher = hasher(&*pepper)?;
        Some(hasher.verify_password(password.as_bytes(), hash.as_str()).is_ok() && known)
    })
    .await?
    .ok_or_else(Problem::fault)
}

fn hasher(pepper: &[u8]) -> Option<Argon2<'_>> {
    let params = Params::new(19_456, 2, 1, None).ok()?;
    Argon2::new_with_secret(pepper, Algorithm::Argon2id, Version::V0x13, params).ok()
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let turn = TURNS.acquire().await.map_err(|_| Problem::fault())?;
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Problem::fault());
    drop(turn);
    done
}

/// A password for its first login only: 20 letters of 32, so 100 bits.
pub fn one_time_password() -> Result<Zeroizing<String>, Problem> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let octets = Zeroizing::new(secret::random::<20>().map_err(|_| Problem::fault())?);
    let mut text = Zeroizing::new(String::with_capacity(24));
    for (at, octet) in octets.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(LETTERS[usize::from(octet & 31)]));
    }
    Ok(text)
}

/// A new secret of a second factor.
pub fn new_factor() -> Result<Zeroizing<Vec<u8>>, Problem> {
    let octets = secret::random::<FACTOR_OCTETS>().map_err(|_| Problem::fault())?;
    Ok(Zeroizing::new(octets.to_vec()))
}

/// The secret as authenticator programs take it: base32, and the whole as an `otpauth` address.
pub fn factor_texts(name: &str, octets: &[u8]) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let totp = totp(octets)?;
    let base32 = Zeroizing::new(totp.secret().to_base32());
    let options = "issuer=Holdfast&algorithm=SHA1&digits=6&period=30";
    let uri = format!("otpauth://totp/Holdfast:{name}?secret={}&{options}", *base32);
    Some((base32, Zeroizing::new(uri)))
}

/// The time step of a code that is good now (RFC 6238, six digits, 30 s).
pub fn factor_step(octets: &[u8], code: &str, now_s: u64) -> Option<u64> {
    totp(octets)?.check(code.trim(), now_s)
}

fn totp(octets: &[u8]) -> Option<Totp> {
    let secret = octets.to_vec().into_boxed_slice();
    Builder::new().with_secret(secret).with_skew(SKEW).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easy_passwords_are_refused() {
        for (password, good) in [
            ("correct horse battery staple", true),
            ("Лошадь верно скрепка", true),
            ("short", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("abcdefghijklmnop", false),
            ("12345678901234567", false),
            ("nora-is-my-name!", false),
            ("password12345", false),
            ("qwertyuiop123", false),
            ("Holdfast2026!", false),
            ("1qaz2wsx3edc", false),
            (&"x1y2z3".repeat(30), false),
        ] {
            assert_eq!(check_quality("nora", password).is_ok(), good, "{password}");
        }
    }

    #[test]
    fn what_is_hashed_is_verified_with_the_same_pepper_only() {
        let hash = hasher(b"pepper..").expect("legal");
        let hash = hash.hash_password_with_salt(b"a good phrase", &[7; 16]).expect("hashed");
        let hash = hash.to_string();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = |pepper: &[u8], password: &[u8], hash: &str| {
            hasher(pepper).expect("legal").verify_password(password, hash).is_ok()
        };
        assert!(verify(b"pepper..", b"a good phrase", &hash));
        assert!(!verify(b"pepper..", b"another phrase", &hash));
        assert!(!verify(b"stolen..", b"a good phrase", &hash));
        assert!(!verify(b"pepper..", b"", NOBODY));
        // It must parse: else an unknown name would be told by its speed.
        argon2::password_hash::phc::PasswordHash::new(NOBODY).expect("a hash");
    }

    /// RFC 6238, appendix B: SHA-1, the last six of eight digits.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = b"12345678901234567890";
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            assert_eq!(factor_step(secret, code, at), Some(at / 30), "{at}");
            assert_eq!(factor_step(secret, code, at + 30), Some(at / 30), "a step later");
            assert_eq!(factor_step(secret, code, at + 90), None, "three steps later");
        }
        let (base32, uri) = factor_texts("nora", secret).expect("legal");
        assert_eq!(*base32, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(uri.starts_with("otpauth://totp/Holdfast:nora?secret=GEZDG"), "{}", *uri);
    }

    #[test]
    fn one_time_passwords_are_good_ones() {
        let one = one_time_password().expect("random");
        assert!(check_quality("nora", &one).is_ok());
        assert_ne!(*one, *one_time_password().expect("random"));
    }
}
