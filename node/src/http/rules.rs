//! What each route needs: the one table that the login looks at and that the reference shows.
//!
//! Invariants: a route that is not here is refused to everybody but the founder; `apply` and the
//! scoped view judge the object, here is only whether somebody may ask at all.

use domain::operators::{Permission as P, Role};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A login, even one that has to change its password first.
    Own,
    /// The permission in some region; what is answered is scoped to those regions.
    Some(P),
    /// The permission in the root: it is about the whole cluster.
    Whole(P),
}

impl Rule {
    /// The permission by which the view is scoped.
    pub fn permission(self) -> P {
        match self {
            Rule::Own => P::Look,
            Rule::Some(what) | Rule::Whole(what) => what,
        }
    }
}

/// Every route behind the login: method, path, rule.
pub const RULES: &[(&str, &str, Rule)] = &[
    ("GET", "/api/v1/session", Rule::Own),
    ("DELETE", "/api/v1/session", Rule::Own),
    ("POST", "/api/v1/session/password", Rule::Own),
    ("GET", "/api/v1/session/all", Rule::Own),
    ("POST", "/api/v1/session/all/end", Rule::Own),
    ("POST", "/api/v1/session/factor", Rule::Own),
    ("POST", "/api/v1/session/factor/confirm", Rule::Own),
    ("GET", "/api/v1/operators", Rule::Some(P::Approve)),
    ("POST", "/api/v1/operators", Rule::Some(P::Operators)),
    ("GET", "/api/v1/operators/{name}", Rule::Some(P::Approve)),
    ("POST", "/api/v1/operators/{name}/end", Rule::Some(P::Operators)),
    ("POST", "/api/v1/operators/{name}/unlock", Rule::Some(P::Operators)),
    ("POST", "/api/v1/operators/{name}/password", Rule::Some(P::Operators)),
    ("DELETE", "/api/v1/operators/{name}/factor", Rule::Some(P::Operators)),
    ("POST", "/api/v1/operators/{name}/tokens", Rule::Some(P::Operators)),
    ("POST", "/api/v1/operators/{name}/grants", Rule::Some(P::Operators)),
    ("POST", "/api/v1/operators/{name}/grants/{grant}/approve", Rule::Some(P::Approve)),
    ("POST", "/api/v1/operators/{name}/grants/{grant}/decline", Rule::Some(P::Approve)),
    ("POST", "/api/v1/operators/{name}/grants/{grant}/revoke", Rule::Some(P::Operators)),
    ("GET", "/api/v1/regions", Rule::Some(P::Look)),
    ("POST", "/api/v1/regions", Rule::Some(P::Operators)),
    ("POST", "/api/v1/regions/{id}/close", Rule::Some(P::Operators)),
    ("POST", "/api/v1/regions/{id}/rename", Rule::Some(P::Operators)),
    ("GET", "/api/v1/regions/{id}/devices", Rule::Some(P::Look)),
    ("POST", "/api/v1/regions/{id}/devices", Rule::Some(P::Assets)),
    ("GET", "/api/v1/search", Rule::Some(P::Look)),
    ("GET", "/api/v1/registry/{kind}", Rule::Some(P::Customers)),
    ("GET", "/api/v1/registry/check/{kind}", Rule::Some(P::Customers)),
    ("GET", "/api/v1/registry/{kind}/{number}", Rule::Some(P::Customers)),
    ("GET", "/api/v1/registry/{kind}/{number}/{of}", Rule::Some(P::Customers)),
    ("POST", "/api/v1/network/{kind}", Rule::Some(P::Assets)),
    ("PUT", "/api/v1/network/{kind}/{number}", Rule::Some(P::Assets)),
    ("POST", "/api/v1/network/{kind}/{number}/close", Rule::Some(P::Assets)),
    ("POST", "/api/v1/people/{kind}", Rule::Some(P::Contracts)),
    ("PUT", "/api/v1/people/{kind}/{number}", Rule::Some(P::Contracts)),
    ("POST", "/api/v1/people/{kind}/{number}/close", Rule::Some(P::Contracts)),
    ("POST", "/api/v1/points/{number}/install", Rule::Some(P::Assets)),
    ("POST", "/api/v1/points/{number}/remove", Rule::Some(P::Assets)),
    ("POST", "/api/v1/points/{number}/exchange", Rule::Some(P::Assets)),
    ("GET", "/api/v1/audit", Rule::Whole(P::Audit)),
    ("GET", "/api/v1/changes", Rule::Some(P::Look)),
    ("GET", "/api/v1/cluster", Rule::Some(P::Look)),
    ("GET", "/api/v1/cluster/members", Rule::Some(P::Look)),
    ("POST", "/api/v1/cluster/members", Rule::Whole(P::Cluster)),
    ("DELETE", "/api/v1/cluster/members/{name}", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/cluster/members/{name}/promote", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/cluster/members/{name}/replace", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/cluster/members/{name}/drain", Rule::Whole(P::Cluster)),
    ("DELETE", "/api/v1/cluster/members/{name}/drain", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/cluster/leader", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/backups", Rule::Whole(P::Backup)),
    ("GET", "/api/v1/backups/{id}", Rule::Whole(P::Backup)),
    ("DELETE", "/api/v1/backups/{id}", Rule::Whole(P::Backup)),
    ("GET", "/api/v1/backups/{id}/manifest", Rule::Whole(P::Backup)),
    ("GET", "/api/v1/backups/{id}/files/{number}", Rule::Whole(P::Backup)),
    ("GET", "/api/v1/integrity", Rule::Whole(P::Audit)),
    ("GET", "/api/v1/concentrators", Rule::Some(P::Look)),
    ("POST", "/api/v1/concentrators", Rule::Some(P::Assets)),
    ("POST", "/api/v1/concentrators/import", Rule::Some(P::Assets)),
    ("GET", "/api/v1/concentrators/{id}", Rule::Some(P::Look)),
    ("GET", "/api/v1/concentrators/{id}/channels", Rule::Some(P::Look)),
    ("GET", "/api/v1/concentrators/{id}/gaps", Rule::Some(P::Look)),
    ("GET", "/api/v1/concentrators/{id}/events", Rule::Some(P::Look)),
    ("POST", "/api/v1/concentrators/{id}/switch", Rule::Some(P::Channels)),
    ("GET", "/api/v1/concentrators/{id}/setup", Rule::Some(P::Look)),
    ("POST", "/api/v1/concentrators/{id}/setup", Rule::Some(P::Configure)),
    ("POST", "/api/v1/concentrators/{id}/setup/push", Rule::Some(P::Configure)),
    ("GET", "/api/v1/setups", Rule::Some(P::Look)),
    ("GET", "/api/v1/setups/{name}", Rule::Some(P::Look)),
    ("POST", "/api/v1/setups/{name}", Rule::Whole(P::Configure)),
    ("GET", "/api/v1/rollouts", Rule::Some(P::Look)),
    ("POST", "/api/v1/rollouts", Rule::Some(P::Configure)),
    ("GET", "/api/v1/rollouts/{id}", Rule::Some(P::Look)),
    ("POST", "/api/v1/rollouts/{id}", Rule::Some(P::Configure)),
    ("GET", "/api/v1/meters", Rule::Some(P::Look)),
    ("POST", "/api/v1/meters", Rule::Some(P::Assets)),
    ("POST", "/api/v1/meters/import", Rule::Some(P::Assets)),
    ("GET", "/api/v1/meters/{serial}", Rule::Some(P::Look)),
    ("GET", "/api/v1/meters/{serial}/readings", Rule::Some(P::Readings)),
    ("GET", "/api/v1/meters/{serial}/gaps", Rule::Some(P::Look)),
    ("GET", "/api/v1/meters/{serial}/sums", Rule::Some(P::Readings)),
    ("GET", "/api/v1/meters/{serial}/latest", Rule::Some(P::Readings)),
    ("GET", "/api/v1/meters/{serial}/live", Rule::Some(P::Read)),
    ("POST", "/api/v1/meters/{serial}/corrections", Rule::Some(P::Correct)),
    ("GET", "/api/v1/readings", Rule::Some(P::Readings)),
    ("GET", "/api/v1/readings/latest", Rule::Some(P::Readings)),
    ("GET", "/api/v1/readings/sums", Rule::Some(P::Readings)),
    ("GET", "/api/v1/conflicts", Rule::Some(P::Readings)),
    ("GET", "/api/v1/collection", Rule::Some(P::Look)),
    ("GET", "/api/v1/collection/concentrators", Rule::Some(P::Look)),
    ("GET", "/api/v1/parameters", Rule::Some(P::Look)),
    ("GET", "/api/v1/parameters/{name}", Rule::Some(P::Look)),
    ("POST", "/api/v1/parameters/{name}", Rule::Whole(P::Parameters)),
    ("GET", "/api/v1/dictionaries", Rule::Own),
    ("GET", "/api/v1/dictionaries/{name}", Rule::Own),
    ("GET", "/api/v1/models", Rule::Some(P::Look)),
    ("GET", "/api/v1/models/{name}", Rule::Some(P::Look)),
    ("GET", "/api/v1/commands", Rule::Some(P::Look)),
    ("POST", "/api/v1/commands", Rule::Some(P::Read)),
    ("GET", "/api/v1/commands/{id}", Rule::Some(P::Look)),
    ("GET", "/api/v1/scada/points", Rule::Whole(P::Look)),
    ("GET", "/api/v1/alarms", Rule::Some(P::Look)),
    ("GET", "/api/v1/monitor/sender", Rule::Whole(P::Watch)),
    ("POST", "/api/v1/monitor/sender", Rule::Whole(P::Watch)),
    ("DELETE", "/api/v1/monitor/sender", Rule::Whole(P::Watch)),
    ("POST", "/api/v1/monitor/told", Rule::Whole(P::Watch)),
    ("GET", "/api/v1/monitor/shared", Rule::Whole(P::Watch)),
    ("POST", "/api/v1/monitor/shared", Rule::Whole(P::Watch)),
    ("GET", "/api/v1/tasks", Rule::Whole(P::Tasks)),
    ("POST", "/api/v1/tasks", Rule::Whole(P::Tasks)),
    ("GET", "/api/v1/tasks/{name}", Rule::Whole(P::Tasks)),
    ("DELETE", "/api/v1/tasks/{name}", Rule::Whole(P::Tasks)),
    ("POST", "/api/v1/tasks/{name}/pause", Rule::Whole(P::Tasks)),
    ("POST", "/api/v1/tasks/{name}/resume", Rule::Whole(P::Tasks)),
    ("POST", "/api/v1/tasks/{name}/run", Rule::Whole(P::Tasks)),
    ("GET", "/api/v1/tasks/{name}/runs", Rule::Whole(P::Tasks)),
    ("GET", "/api/v1/tasks/{name}/failures", Rule::Whole(P::Tasks)),
    ("GET", "/api/v1/tasks/{name}/clocks", Rule::Whole(P::Tasks)),
    ("GET", "/api/v1/clocks", Rule::Some(P::Look)),
    ("GET", "/api/v1/clocks/{device}", Rule::Some(P::Look)),
    ("GET", "/api/v1/drills", Rule::Some(P::Look)),
    ("POST", "/api/v1/drills", Rule::Whole(P::Cluster)),
    ("GET", "/api/v1/drills/plan", Rule::Whole(P::Drills)),
    ("GET", "/api/v1/drills/plans", Rule::Some(P::Look)),
    ("POST", "/api/v1/drills/plans", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/drills/plans/{name}/approve", Rule::Whole(P::Approve)),
    ("POST", "/api/v1/drills/plans/{name}/decline", Rule::Whole(P::Approve)),
    ("POST", "/api/v1/drills/plans/{name}/revoke", Rule::Whole(P::Cluster)),
    ("POST", "/api/v1/drills/plans/{name}/claim", Rule::Whole(P::Drills)),
    ("POST", "/api/v1/drills/plans/{name}/begin", Rule::Whole(P::Drills)),
    ("POST", "/api/v1/drills/plans/{name}/refuse", Rule::Whole(P::Drills)),
    ("GET", "/api/v1/drills/{id}", Rule::Some(P::Look)),
    ("POST", "/api/v1/drills/{id}/abort", Rule::Whole(P::Drills)),
    ("GET", "/api/v1/drills/{id}/probes", Rule::Whole(P::Drills)),
    ("POST", "/api/v1/drills/{id}/probes", Rule::Whole(P::Drills)),
    ("GET", "/api/v1/drills/{id}/probes/{number}", Rule::Whole(P::Drills)),
    ("POST", "/api/v1/drills/{id}/injection", Rule::Whole(P::Drills)),
    ("DELETE", "/api/v1/drills/{id}/injection", Rule::Whole(P::Drills)),
    ("POST", "/api/v1/drills/{id}/evidence", Rule::Whole(P::Drills)),
    ("GET", "/drills", Rule::Some(P::Look)),
    ("GET", "/drills/{id}", Rule::Some(P::Look)),
    ("GET", "/api/openapi.json", Rule::Own),
    ("GET", "/api/docs", Rule::Own),
    ("GET", "/api/docs/", Rule::Own),
    ("GET", "/api/docs/{*rest}", Rule::Own),
    ("GET", "/me", Rule::Own),
    ("POST", "/me/language", Rule::Own),
    ("POST", "/me/password", Rule::Own),
    ("POST", "/me/factor", Rule::Own),
    ("POST", "/me/factor/confirm", Rule::Own),
    ("POST", "/me/sessions/end", Rule::Own),
    ("GET", "/operators", Rule::Some(P::Approve)),
    ("GET", "/audit", Rule::Whole(P::Audit)),
    ("GET", "/collection", Rule::Some(P::Look)),
    ("GET", "/concentrators/{id}/gaps", Rule::Some(P::Look)),
    ("GET", "/topology", Rule::Some(P::Look)),
    ("GET", "/commands", Rule::Some(P::Look)),
    ("GET", "/tasks", Rule::Whole(P::Tasks)),
    ("GET", "/tasks/{name}", Rule::Whole(P::Tasks)),
    ("POST", "/tasks/{name}/run", Rule::Whole(P::Tasks)),
    ("POST", "/tasks/{name}/pause", Rule::Whole(P::Tasks)),
    ("POST", "/tasks/{name}/resume", Rule::Whole(P::Tasks)),
    ("GET", "/parameters", Rule::Some(P::Look)),
    ("GET", "/parameters/{name}", Rule::Some(P::Look)),
    ("POST", "/parameters/{name}", Rule::Whole(P::Parameters)),
    ("GET", "/search", Rule::Some(P::Look)),
    ("GET", "/registry/{kind}", Rule::Some(P::Customers)),
    ("GET", "/registry/{kind}/{number}", Rule::Some(P::Customers)),
    ("GET", "/", Rule::Some(P::Look)),
    ("GET", "/meters", Rule::Some(P::Look)),
    ("GET", "/meters/{serial}", Rule::Some(P::Readings)),
    ("POST", "/meters/{serial}/read", Rule::Some(P::Read)),
    ("POST", "/concentrators/{id}/switch", Rule::Some(P::Channels)),
];

/// The rule of a route.
pub fn rule(method: &str, path: &str) -> Option<Rule> {
    // What answers GET answers HEAD.
    let method = if method == "HEAD" { "GET" } else { method };
    let found = RULES.iter().find(|(its, at, _)| *its == method && *at == path);
    found.map(|(_, _, rule)| *rule)
}

/// The page `docs/reference/roles.md`.
pub fn document() -> String {
    let mut page = String::from(HEAD);
    let names: Vec<&str> = Role::ALL.map(Role::name).to_vec();
    page.push_str(&format!("| permission | {} |\n", names.join(" | ")));
    page.push_str(&format!("|---|{}\n", ":-:|".repeat(names.len())));
    for what in P::ALL {
        let has = |role: Role| if role.permissions().contains(&what) { "yes" } else { "" };
        page.push_str(&format!("| `{}` | {} |\n", what.name(), Role::ALL.map(has).join(" | ")));
    }
    let two = Role::ALL.into_iter().filter(|role| role.needs_two()).map(Role::name);
    let two: Vec<String> = two.map(|name| format!("`{name}`")).collect();
    page.push_str(&format!("\n{TWO}{}.\n\n{ROUTES}", two.join(", ")));
    for (method, path, rule) in RULES {
        let needs = match rule {
            Rule::Own => "any login".to_owned(),
            Rule::Some(what) => format!("`{}` in a region", what.name()),
            Rule::Whole(what) => format!("`{}` in the whole utility", what.name()),
        };
        page.push_str(&format!("| {method} | `{path}` | {needs} |\n"));
    }
    page
}

const HEAD: &str = include_str!("rules/head.md");
const TWO: &str = "A grant of one of these waits for a second person with `approve`, who neither \
asked for it nor gains by it, and is void after a week: ";
const ROUTES: &str = include_str!("rules/routes.md");
