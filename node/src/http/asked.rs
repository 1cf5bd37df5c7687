//! The app as somebody asks it: who, with which rights, and what he may see of the state.
//!
//! Handlers take [`Asked`] and never the bare app. Invariants: the state that a handler gets is
//! scoped to the regions where the caller has what the route needs, so another region's object is
//! not there; every change is proposed in the caller's name, and `apply` judges it.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use cluster::LocalView;
use domain::operators::{Permission, Rights, Scope, Scoped, SessionHash};
use domain::{Change, Done, ProposalId};

use crate::app::App;
use crate::http::problem::Problem;
use crate::texts::Language;

/// The state as a caller sees it.
pub type Seen = Scoped<LocalView>;

/// Who asks.
#[derive(Debug)]
pub struct Caller {
    /// The operator's name.
    pub name: String,
    /// What he may do.
    pub rights: Rights,
    /// His session; none with the founder's token.
    pub session: Option<SessionHash>,
    /// The language of his pages.
    pub language: Language,
}

/// The app as a caller asks it.
#[derive(Clone)]
pub struct Asked {
    app: App,
    caller: Arc<Caller>,
    what: Permission,
}

impl Deref for Asked {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

/// What the login leaves for the extractor: the caller, and what the route needs.
#[derive(Clone)]
pub struct Known(pub Arc<Caller>, pub Permission);

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Asked, Problem> {
        let Some(Known(caller, what)) = parts.extensions.get::<Known>().cloned() else {
            // A route that is not behind the login takes no caller.
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "log in first"));
        };
        Ok(Asked { app: app.clone(), caller, what })
    }
}

impl Asked {
    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The language of the caller's pages.
    pub fn language(&self) -> Language {
        self.caller.language
    }

    /// This node's state as the caller sees it, possibly behind the leader.
    pub fn view(&self) -> Result<Seen, Problem> {
        self.scoped(self.app.whole_view()?)
    }

    /// The same, with everything acknowledged before this call.
    pub async fn fresh_view(&self) -> Result<Seen, Problem> {
        self.scoped(self.app.fresh_whole_view().await?)
    }

    fn scoped(&self, view: LocalView) -> Result<Seen, Problem> {
        let scope = self.caller.rights.scope(&view, self.what)?;
        Ok(Scoped::new(view, scope))
    }

    /// Where the caller may do something.
    pub fn scope(&self, view: &Seen, what: Permission) -> Result<Scope, Problem> {
        Ok(self.caller.rights.scope(view.whole(), what)?)
    }

    /// Whether the caller may do something in any region.
    pub fn may(&self, what: Permission) -> bool {
        self.caller.rights.may_somewhere(what)
    }

    /// Whether the caller may do something in every region.
    pub fn may_everywhere(&self, what: Permission) -> bool {
        self.caller.rights.may_everywhere(what)
    }

    /// Proposes a change in the caller's name; a refusal becomes its problem.
    pub async fn propose(&self, id: ProposalId, change: Change) -> Result<(u64, Done), Problem> {
        self.app.propose(id, &self.caller.name, change).await
    }

    /// Asks for a change of the members in the caller's name.
    pub async fn change_members(
        &self,
        id: ProposalId,
        verb: cluster::Verb,
    ) -> Result<u64, Problem> {
        self.app.change_members(id, &self.caller.name, verb).await
    }
}
