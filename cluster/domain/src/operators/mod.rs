//! Operators: people and programs, what they may do where, and how they prove who they are.
//!
//! Not the hashing of passwords (nodes do that; here is only the hash) and not the judging of
//! changes (`apply::authorize` does that, with the [`Rights`] of here).
//!
//! Invariants: 1. A name belongs to one person for ever, leavers included. 2. Nobody grants to
//! himself, and a grant of power waits for a second person who neither asked for it nor gains by
//! it. 3. Whoever has ended has no session, no token and no rights. 4. A code of the second factor
//! is good once. 5. No secret stands here: hashes, and a wrapped second factor.

mod grants;
mod rights;
mod roles;
mod scoped;
mod sessions;

use serde::{Deserialize, Serialize};

pub use self::grants::{Grant, GrantState, WAITS_MS};
pub use self::rights::{Rights, Scope};
pub use self::roles::{Permission, Role};
pub use self::scoped::Scoped;
pub use self::sessions::{Kind as SessionKind, MAX_USED, Session, SessionHash, session, sessions};
use crate::apply::table::{END, Typed, after};
use crate::apply::{Author, Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::regions::{self, ROOT};
use crate::units::Stamp;

/// Who has the token of the cluster's foundation. No operator may be called so.
pub const FOUNDER: &str = "admin";
/// The most operators.
pub const MAX_OPERATORS: usize = 100_000;
/// The most octets of a password's hash, in the PHC string format.
const MAX_HASH: usize = 256;
/// The most octets of a wrapped second factor.
const MAX_FACTOR: usize = 64;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Somebody new, without any right.
    Register {
        /// The name to log in with: 2 to 32 of a-z, 0-9, `.`, `-` and `_`, a letter first.
        name: String,
        /// Who it is.
        about: About,
        /// Whose staff: the region whose administrators keep this operator.
        home: u32,
        /// A person, or a program that has tokens and no password.
        program: bool,
    },
    /// Another name, language or contact of the person.
    Amend {
        /// Whom.
        name: String,
        /// Who it is from now on.
        about: About,
    },
    /// A leaver: every session, token and right ends at once.
    End {
        /// Whom.
        name: String,
        /// Why.
        reason: String,
    },
    /// A role in a region and all below it.
    Grant {
        /// To whom.
        name: String,
        /// Which.
        role: Role,
        /// Where.
        region: u32,
        /// From when on; at once when none.
        from: Option<Stamp>,
        /// Until when; for good when none.
        until: Option<Stamp>,
        /// Why.
        reason: String,
    },
    /// The second person's yes or no to a grant.
    Judge {
        /// Whose grant.
        name: String,
        /// Which.
        grant: u32,
        /// Yes, or no.
        approve: bool,
    },
    /// A grant ends now.
    Revoke {
        /// Whose.
        name: String,
        /// Which.
        grant: u32,
        /// Why.
        reason: String,
    },
    /// A new password; by others than its owner it has to be changed at the next login. All other
    /// sessions of the operator end.
    Password {
        /// Whose.
        name: String,
        /// argon2id, in the PHC string format.
        hash: String,
        /// The session that stays, if any.
        keep: Option<SessionHash>,
    },
    /// A second factor to be confirmed, or none.
    Factor {
        /// Whose.
        name: String,
        /// Its secret (RFC 6238), wrapped; none takes the factor away.
        wrapped: Option<Vec<u8>>,
    },
    /// The factor's first code was right: from now on it is asked for.
    ConfirmFactor {
        /// Whose.
        name: String,
        /// The time step of the code.
        step: u64,
    },
    /// Failed logins are forgotten.
    Unlock {
        /// Whose.
        name: String,
    },
    /// A node has seen password and code, or the founder's token: a session.
    Login {
        /// Who.
        name: String,
        /// blake3 of the session's token.
        session: SessionHash,
        /// When it ends at the latest.
        expires: Stamp,
        /// The time step of the second factor's code, if one was asked for.
        step: Option<u64>,
        /// Where from.
        address: String,
    },
    /// A node has seen a wrong password or code.
    Failed {
        /// Whose.
        name: String,
        /// Where from.
        address: String,
    },
    /// Sessions that were used lately.
    Used {
        /// Which, at most 256.
        sessions: Vec<SessionHash>,
    },
    /// A session ends.
    Logout {
        /// Whose.
        name: String,
        /// Which.
        session: SessionHash,
    },
    /// A token of a program, which is a long session.
    Token {
        /// Whose.
        name: String,
        /// blake3 of the token.
        session: SessionHash,
        /// What it is for.
        label: String,
        /// When it ends.
        expires: Stamp,
    },
    /// The language in which somebody is shown texts; everybody chooses his own.
    Language {
        /// Whose.
        name: String,
        /// en, es, ru or zh.
        language: String,
    },
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Register { .. } => "operators.register",
            Change::Amend { .. } => "operators.amend",
            Change::End { .. } => "operators.end",
            Change::Grant { .. } => "operators.grant",
            Change::Judge { approve: true, .. } => "operators.approve",
            Change::Judge { approve: false, .. } => "operators.decline",
            Change::Revoke { .. } => "operators.revoke",
            Change::Password { .. } => "operators.password",
            Change::Factor { .. } => "operators.factor",
            Change::ConfirmFactor { .. } => "operators.confirm_factor",
            Change::Unlock { .. } => "operators.unlock",
            Change::Login { .. } => "operators.login",
            Change::Failed { .. } => "operators.failed",
            Change::Used { .. } => "operators.used",
            Change::Logout { .. } => "operators.logout",
            Change::Token { .. } => "operators.token",
            Change::Language { .. } => "operators.language",
        }
    }

    /// What it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Register { name, .. }
            | Change::Amend { name, .. }
            | Change::End { name, .. }
            | Change::Password { name, .. }
            | Change::Factor { name, .. }
            | Change::ConfirmFactor { name, .. }
            | Change::Unlock { name }
            | Change::Logout { name, .. } => name.clone(),
            Change::Grant { name, role, region, .. } => {
                format!("{name} {} in {region}", role.name())
            }
            Change::Judge { name, grant, .. } | Change::Revoke { name, grant, .. } => {
                format!("{name} grant {grant}")
            }
            Change::Login { name, address, .. } | Change::Failed { name, address } => {
                format!("{name} from {address}")
            }
            Change::Used { sessions } => format!("{} sessions", sessions.len()),
            Change::Token { name, label, .. } => format!("{name} {label}"),
            Change::Language { name, language } => format!("{name} {language}"),
        }
    }
}

/// Who an operator is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Name of the person or program, 1 to 128 octets.
    pub full_name: String,
    /// Language of texts: en, es, ru or zh.
    pub language: String,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The name to log in with.
    pub name: String,
    /// Who it is.
    pub about: About,
    /// Whose staff.
    pub home: u32,
    /// A program, which has tokens and no password.
    pub program: bool,
    /// Since when.
    pub registered: Stamp,
    /// Until when.
    pub ended: Option<Stamp>,
    /// Hash of the password.
    pub password: Option<Password>,
    /// The second factor.
    pub factor: Option<Factor>,
    /// Wrong logins since the last right one.
    pub failures: u32,
    /// No login before this.
    pub locked_until: Option<Stamp>,
    /// When the last session began.
    pub last_login: Option<Stamp>,
    /// Roles, those that have ended or wait included.
    pub grants: Vec<Grant>,
}

/// A password, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password {
    /// argon2id, in the PHC string format.
    pub hash: String,
    /// Since when.
    pub since: Stamp,
    /// Somebody else set it: its owner has to change it before anything else.
    pub must_change: bool,
}

/// A second factor (RFC 6238).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// Its secret, wrapped.
    pub wrapped: Vec<u8>,
    /// Whether it is asked for.
    pub confirmed: bool,
    /// The last time step that was good.
    pub step: u64,
}

static OPERATORS: Typed<str, Operator> = Typed::new(Table::Operators);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Register { name, about, home, program } => {
            register(tx, name, about, *home, *program)
        }
        Change::Amend { name, about } => {
            check_about(about)?;
            let mut known = active(tx, name)?;
            known.about = about.clone();
            keep(tx, &known)
        }
        Change::End { name, reason } => end(tx, name, reason),
        Change::Grant { name, role, region, from, until, reason } => {
            let wish = grants::Wish { role: *role, region: *region, from: *from, until: *until };
            grants::grant(tx, name, wish, reason)
        }
        Change::Judge { name, grant, approve } => grants::judge(tx, name, *grant, *approve),
        Change::Revoke { name, grant, reason } => grants::revoke(tx, name, *grant, reason),
        Change::Password { name, hash, keep } => password(tx, name, hash, keep.as_ref()),
        Change::Factor { name, wrapped } => factor(tx, name, wrapped.as_deref()),
        Change::ConfirmFactor { name, step } => confirm(tx, name, *step),
        Change::Unlock { name } => {
            let mut known = active(tx, name)?;
            (known.failures, known.locked_until) = (0, None);
            keep(tx, &known)
        }
        Change::Login { name, session, expires, step, address } => {
            sessions::login(tx, name, session, *expires, *step, address)
        }
        Change::Failed { name, .. } => sessions::failed(tx, name),
        Change::Used { sessions } => sessions::used(tx, sessions),
        Change::Logout { name, session } => sessions::logout(tx, name, session),
        Change::Token { name, session, label, expires } => {
            sessions::token(tx, name, session, label, *expires)
        }
        Change::Language { name, language } => {
            let mut known = active(tx, name)?;
            let about = About { language: language.clone(), ..known.about };
            check_about(&about)?;
            known.about = about;
            keep(tx, &known)
        }
    }
}

fn register(
    tx: &mut Tx<'_>,
    name: &str,
    about: &About,
    home: u32,
    program: bool,
) -> Result<Done, Stop> {
    check_login_name(name)?;
    check_about(about)?;
    if home != ROOT && regions::region(tx, home)?.is_none_or(|region| region.closed.is_some()) {
        return Err(refuse("unknown_region", home.to_string()));
    }
    if let Some(known) = OPERATORS.get(tx, name)? {
        let same = known.about == *about
            && (known.home, known.program) == (home, program)
            && known.ended.is_none();
        return if same { Ok(Done::Noted) } else { Err(refuse("operator_exists", name)) };
    }
    let operator = Operator {
        name: name.to_owned(),
        about: about.clone(),
        home,
        program,
        registered: tx.stamp,
        ended: None,
        password: None,
        factor: None,
        failures: 0,
        locked_until: None,
        last_login: None,
        grants: Vec::new(),
    };
    keep(tx, &operator)
}

fn check_login_name(name: &str) -> Result<(), Stop> {
    let letters =
        |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b".-_".contains(&octet);
    let first = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if !first || !(2..=32).contains(&name.len()) || !name.bytes().all(letters) {
        let text = "2 to 32 of a-z, 0-9, '.', '-' and '_', a letter first";
        return Err(refuse("bad_operator_name", text));
    }
    if name == FOUNDER {
        return Err(refuse("operator_exists", name));
    }
    Ok(())
}

fn check_about(about: &About) -> Result<(), Stop> {
    let name = &about.full_name;
    if name.trim().is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        return Err(refuse("bad_name", "a name of 1 to 128 octets"));
    }
    if !["en", "es", "ru", "zh"].contains(&about.language.as_str()) {
        return Err(refuse("bad_language", "en, es, ru or zh"));
    }
    Ok(())
}

fn end(tx: &mut Tx<'_>, name: &str, reason: &str) -> Result<Done, Stop> {
    regions::check_reason(reason)?;
    let mut known = active(tx, name)?;
    if *tx.author == Author::Operator(name.to_owned()) {
        return Err(refuse("own_rights", "nobody ends himself"));
    }
    known.ended = Some(tx.stamp);
    known.password = None;
    known.factor = None;
    sessions::end_all(tx, name, None)?;
    keep(tx, &known)
}

fn password(
    tx: &mut Tx<'_>,
    name: &str,
    hash: &str,
    stays: Option<&SessionHash>,
) -> Result<Done, Stop> {
    let mut known = active(tx, name)?;
    if known.program {
        return Err(refuse("bad_password", "a program has tokens and no password"));
    }
    if !hash.starts_with("$argon2id$") || hash.len() > MAX_HASH || !hash.is_ascii() {
        return Err(refuse("bad_password", "a password is kept as a hash by argon2id"));
    }
    let own = *tx.author == Author::Operator(name.to_owned());
    let since = tx.stamp;
    known.password = Some(Password { hash: hash.to_owned(), since, must_change: !own });
    (known.failures, known.locked_until) = (0, None);
    sessions::end_all(tx, name, stays.filter(|_| own))?;
    keep(tx, &known)
}

fn factor(tx: &mut Tx<'_>, name: &str, wrapped: Option<&[u8]>) -> Result<Done, Stop> {
    let mut known = active(tx, name)?;
    let own = *tx.author == Author::Operator(name.to_owned());
    if wrapped.is_some_and(|octets| !own || octets.is_empty() || octets.len() > MAX_FACTOR) {
        return Err(refuse("bad_factor", "a factor is made by its owner, with a wrapped secret"));
    }
    if own && known.factor.as_ref().is_some_and(|factor| factor.confirmed) {
        return Err(refuse("factor_in_use", "somebody else has to take the old one away"));
    }
    // Nothing of an old factor counts for a new one but its last step: codes are good once.
    let step = known.factor.as_ref().map_or(0, |factor| factor.step);
    known.factor =
        wrapped.map(|octets| Factor { wrapped: octets.to_vec(), confirmed: false, step });
    keep(tx, &known)
}

fn confirm(tx: &mut Tx<'_>, name: &str, step: u64) -> Result<Done, Stop> {
    let mut known = active(tx, name)?;
    match &mut known.factor {
        Some(factor) if !factor.confirmed => {
            (factor.confirmed, factor.step) = (true, step);
            keep(tx, &known)
        }
        _ => Err(refuse("bad_factor", "there is none to confirm")),
    }
}

fn active(view: &dyn View, name: &str) -> Result<Operator, Stop> {
    let known = OPERATORS.get(view, name)?.filter(|known| known.ended.is_none());
    known.ok_or_else(|| refuse("unknown_operator", name))
}

fn keep(tx: &mut Tx<'_>, operator: &Operator) -> Result<Done, Stop> {
    OPERATORS.put(tx, &operator.name, operator)?;
    Ok(Done::Noted)
}

/// An operator by name, leavers included.
pub fn operator(view: &dyn View, name: &str) -> Result<Option<Operator>, Fault> {
    OPERATORS.get(view, name)
}

/// At most `limit` operators behind a name, in order of the names, leavers included.
pub fn operators(
    view: &dyn View,
    behind: Option<&str>,
    limit: usize,
) -> Result<Vec<Operator>, Fault> {
    let from = behind.map_or_else(Vec::new, |name| after(name.as_bytes()));
    let rows = OPERATORS.scan(view, &from, END, limit)?;
    Ok(rows.into_iter().map(|(_, operator)| operator).collect())
}

/// What a name may do at a time; none when there is no such operator any more.
pub fn rights(view: &dyn View, name: &str, at: Stamp) -> Result<Option<Rights>, Fault> {
    if name == FOUNDER {
        return Ok(Some(Rights::founder()));
    }
    let known = OPERATORS.get(view, name)?.filter(|known| known.ended.is_none());
    Ok(known.map(|operator| Rights::of(&operator, at)))
}
