//! Sessions of people and tokens of programs: replicated, so that they live on every node, survive
//! a failover, and end everywhere at once. What is kept is the hash of the token.

use serde::{Deserialize, Serialize};

use super::{FOUNDER, OPERATORS, active, keep};
use crate::apply::table::{Key, Typed, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::parameters;
use crate::units::Stamp;

/// blake3 of a token.
pub type SessionHash = [u8; 32];

/// The most sessions that one change notes as used.
pub const MAX_USED: usize = 256;
/// The longest life of a login's session.
const MAX_LOGIN_MS: u64 = 7 * 86_400_000;
/// The longest life of a program's token.
const MAX_TOKEN_MS: u64 = 732 * 86_400_000;
/// The most sessions of one operator that are looked at: more than a parameter allows.
const LOOKED: usize = 1100;

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Of a login: it also ends when it is not used.
    Login,
    /// Of a program.
    Token,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub operator: String,
    /// What it is.
    pub kind: Kind,
    /// What a token is for, or where a login came from.
    pub label: String,
    /// Since when.
    pub begun: Stamp,
    /// When it was last used, to a minute or so.
    pub used: Stamp,
    /// When it ends at the latest.
    pub expires: Stamp,
}

static SESSIONS: Typed<SessionHash, Session> = Typed::new(Table::Sessions);
static SESSIONS_OF: Typed<(Name, SessionHash), ()> = Typed::new(Table::SessionsOf);

/// An operator's name before something else in a key: closed by a zero that no name contains.
#[derive(Clone)]
struct Name(String);

impl Key for Name {
    fn octets(&self) -> Vec<u8> {
        [self.0.as_bytes(), &[0]].concat()
    }
}

impl Key for SessionHash {
    fn octets(&self) -> Vec<u8> {
        self.to_vec()
    }
}

pub(super) fn login(
    tx: &mut Tx<'_>,
    name: &str,
    hash: &SessionHash,
    expires: Stamp,
    step: Option<u64>,
    address: &str,
) -> Result<Done, Stop> {
    if name != FOUNDER {
        let mut known = active(tx, name)?;
        if known.program {
            return Err(refuse("unknown_operator", name));
        }
        if known.locked_until.is_some_and(|until| tx.stamp < until) {
            return Err(refuse("locked", name));
        }
        if let Some(factor) = known.factor.as_mut().filter(|factor| factor.confirmed) {
            // A code that was seen is worth nothing to who saw it.
            if step.is_none_or(|step| step <= factor.step) {
                return Err(refuse("code_used", name));
            }
            factor.step = step.unwrap_or(factor.step);
        }
        (known.failures, known.locked_until) = (0, None);
        known.last_login = Some(tx.stamp);
        keep(tx, &known)?;
    }
    make_room(tx, name)?;
    let expires = expires.min(tx.stamp.plus_ms(MAX_LOGIN_MS));
    put(tx, name, hash, Kind::Login, address, expires)
}

/// Ends what is over, and the oldest logins beyond the parameter's number.
fn make_room(tx: &mut Tx<'_>, name: &str) -> Result<(), Stop> {
    let most = parameters::value(tx, parameters::SESSIONS_MOST, tx.stamp)?.max(1) as usize;
    let mut living = Vec::new();
    for (hash, session) in sessions(tx, name)? {
        if !holds(tx, &session, tx.stamp)? {
            delete(tx, name, &hash);
        } else if session.kind == Kind::Login {
            living.push((session.begun, hash));
        }
    }
    living.sort_unstable();
    let over = (living.len() + 1).saturating_sub(most);
    for (_, hash) in living.into_iter().take(over) {
        delete(tx, name, &hash);
    }
    Ok(())
}

pub(super) fn failed(tx: &mut Tx<'_>, name: &str) -> Result<Done, Stop> {
    let mut known = active(tx, name)?;
    let most = parameters::value(tx, parameters::LOCK_AFTER, tx.stamp)?;
    let minutes = parameters::value(tx, parameters::LOCK_MINUTES, tx.stamp)?;
    if known.locked_until.is_some_and(|until| tx.stamp < until) {
        return Ok(Done::Noted);
    }
    known.failures = known.failures.saturating_add(1);
    if most != 0 && known.failures >= most {
        known.failures = 0;
        known.locked_until = Some(tx.stamp.plus_ms(u64::from(minutes) * 60_000));
    }
    keep(tx, &known)
}

pub(super) fn used(tx: &mut Tx<'_>, hashes: &[SessionHash]) -> Result<Done, Stop> {
    if hashes.len() > MAX_USED {
        return Err(refuse("bad_session", format!("at most {MAX_USED} at a time")));
    }
    for hash in hashes {
        if let Some(mut session) = SESSIONS.get(tx, hash)? {
            session.used = session.used.max(tx.stamp);
            SESSIONS.put(tx, hash, &session)?;
        }
    }
    Ok(Done::Noted)
}

pub(super) fn logout(tx: &mut Tx<'_>, name: &str, hash: &SessionHash) -> Result<Done, Stop> {
    if SESSIONS.get(tx, hash)?.is_some_and(|session| session.operator == name) {
        delete(tx, name, hash);
    }
    Ok(Done::Noted)
}

pub(super) fn token(
    tx: &mut Tx<'_>,
    name: &str,
    hash: &SessionHash,
    label: &str,
    expires: Stamp,
) -> Result<Done, Stop> {
    let known = active(tx, name)?;
    if !known.program {
        return Err(refuse("bad_session", "people log in; tokens are for programs"));
    }
    if label.trim().is_empty() || label.len() > 128 {
        return Err(refuse("bad_name", "a label of 1 to 128 octets"));
    }
    if expires <= tx.stamp || expires > tx.stamp.plus_ms(MAX_TOKEN_MS) {
        return Err(refuse("bad_validity", "a token ends within two years"));
    }
    make_room(tx, name)?;
    if sessions(tx, name)?.len() >= 16 {
        return Err(refuse("bad_session", "16 tokens are the most"));
    }
    put(tx, name, hash, Kind::Token, label, expires)
}

fn put(
    tx: &mut Tx<'_>,
    name: &str,
    hash: &SessionHash,
    kind: Kind,
    label: &str,
    expires: Stamp,
) -> Result<Done, Stop> {
    let (operator, label) = (name.to_owned(), label.chars().take(128).collect());
    let session = Session { operator, kind, label, begun: tx.stamp, used: tx.stamp, expires };
    SESSIONS.put(tx, hash, &session)?;
    SESSIONS_OF.put(tx, &(Name(name.to_owned()), *hash), &())?;
    Ok(Done::Noted)
}

/// Ends every session of a name but one.
pub(super) fn end_all(tx: &mut Tx<'_>, name: &str, but: Option<&SessionHash>) -> Result<(), Stop> {
    for (hash, _) in sessions(tx, name)? {
        if Some(&hash) != but {
            delete(tx, name, &hash);
        }
    }
    Ok(())
}

fn delete(tx: &mut Tx<'_>, name: &str, hash: &SessionHash) {
    SESSIONS.delete(tx, hash);
    SESSIONS_OF.delete(tx, &(Name(name.to_owned()), *hash));
}

/// Whether a session is not over: neither its end has come nor has it been unused for too long.
fn holds(view: &dyn View, session: &Session, at: Stamp) -> Result<bool, Fault> {
    let idle = u64::from(parameters::value(view, parameters::SESSIONS_IDLE, at)?);
    let unused = session.kind == Kind::Login
        && idle != 0
        && at >= session.used.plus_ms(idle.saturating_mul(60_000));
    Ok(at < session.expires && !unused)
}

/// The session of a token's hash that holds at a time.
pub fn session(view: &dyn View, hash: &SessionHash, at: Stamp) -> Result<Option<Session>, Fault> {
    let Some(session) = SESSIONS.get(view, hash)? else { return Ok(None) };
    let here = session.operator == FOUNDER
        || OPERATORS.get(view, &session.operator)?.is_some_and(|known| known.ended.is_none());
    Ok((here && holds(view, &session, at)?).then_some(session))
}

/// Every session of a name, those included that are over and not yet cleared away.
pub fn sessions(view: &dyn View, name: &str) -> Result<Vec<(SessionHash, Session)>, Fault> {
    let prefix = Name(name.to_owned()).octets();
    let corrupt = || Fault::Corrupt { table: Table::SessionsOf, why: "the key has no hash" };
    let mut found = Vec::new();
    for (key, ()) in SESSIONS_OF.scan(view, &prefix, &end_of(&prefix), LOOKED)? {
        let hash = key.get(prefix.len()..).and_then(|octets| SessionHash::try_from(octets).ok());
        let hash = hash.ok_or_else(corrupt)?;
        if let Some(session) = SESSIONS.get(view, &hash)? {
            found.push((hash, session));
        }
    }
    Ok(found)
}
