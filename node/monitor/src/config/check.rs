//! What the shapes alone cannot say: names that must be defined, files that must be there.
//!
//! Invariant: everything is looked at, whatever was found before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::channel::{Channel, Smtp, SmtpTls, WebRequest};
use super::shape::{Config, Contact, Escalation};
use super::{Faults, Node, Secret};
use crate::expr::Expr;
use crate::nut::Address;
use crate::oncall::{Hours, Rota, time, zone};
use crate::sms::pdu::check_number;
use crate::texts::{LANGUAGES, Texts, fill};

/// The largest file of a secret.
const MAX_SECRET: usize = 4096;

pub(super) fn check(config: &mut Config, folder: &Path, faults: &mut Faults) {
    files(config, folder, faults);
    top(config, faults);
    names(config, faults);
    for node in &config.nodes {
        check_node(node, faults);
    }
    rules(config, faults);
    watched(config, faults);
    policies(config, faults);
    for contact in &config.contacts {
        check_contact(config, contact, faults);
    }
    people(config, faults);
    for channel in &config.channels {
        check_channel(channel, faults);
    }
}

/// Rules of a configuration whose other parts were checked before.
pub(super) fn rules_alone(config: &Config, faults: &mut Faults) {
    names(config, faults);
    rules(config, faults);
    watched(config, faults);
}

/// Reads every file that is named.
fn files(config: &mut Config, folder: &Path, faults: &mut Faults) {
    if !config.state_dir.as_os_str().is_empty() {
        config.state_dir = folder.join(&config.state_dir);
    }
    config.http.token = secret(config.http.token_file.as_ref(), folder, "http", faults);
    if let Some(cluster) = &mut config.cluster {
        cluster.token = secret(Some(&cluster.token_file), folder, "cluster", faults);
        authorities(&mut cluster.ca_file, folder, "cluster", faults);
    }
    for user in &mut config.users {
        let at = format!("user \"{}\"", user.name);
        user.password = secret(Some(&user.password_file), folder, &at, faults);
    }
    if let Some(section) = &mut config.alertmanager {
        section.token = secret(Some(&section.token_file), folder, "alertmanager", faults);
    }
    for node in &mut config.nodes {
        let at = format!("node \"{}\"", node.name);
        node.token = secret(node.token_file.as_ref(), folder, &at, faults);
        authorities(&mut node.ca_file, folder, &at, faults);
    }
    for channel in &mut config.channels {
        let at = format!("channel \"{}\"", channel.name());
        match channel {
            Channel::Smtp(smtp) => {
                smtp.password = secret(smtp.password_file.as_ref(), folder, &at, faults);
                authorities(&mut smtp.ca_file, folder, &at, faults);
            }
            Channel::Modem(modem) => {
                modem.pin = secret(modem.pin_file.as_ref(), folder, &at, faults);
                modem.device = folder.join(&modem.device);
            }
            Channel::Webhook(request) | Channel::SmsGateway(request) => {
                request.token = secret(request.token_file.as_ref(), folder, &at, faults);
                authorities(&mut request.ca_file, folder, &at, faults);
            }
        }
    }
}

fn secret(file: Option<&PathBuf>, folder: &Path, at: &str, faults: &mut Faults) -> Option<Secret> {
    let path = folder.join(file?);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => {
            faults.add(at, format!("{} is empty", path.display()))
        }
        Ok(text) if text.len() > MAX_SECRET || text.trim().contains(['\r', '\n']) => {
            faults.add(at, format!("{} is not one line", path.display()));
        }
        Ok(text) => return Some(Secret::new(text.trim())),
        Err(error) => faults.add(at, format!("{}: {error}", path.display())),
    }
    None
}

fn authorities(file: &mut Option<PathBuf>, folder: &Path, at: &str, faults: &mut Faults) {
    let Some(path) = file else { return };
    *path = folder.join(&*path);
    let certificates: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(&*path) {
        Ok(found) => found.collect(),
        Err(error) => Err(error),
    };
    match certificates {
        Ok(found) if found.is_empty() => {
            faults.add(at, format!("{} holds no certificate", path.display()));
        }
        Ok(_) => {}
        Err(error) => faults.add(at, format!("{}: {error}", path.display())),
    }
}

fn top(config: &Config, faults: &mut Faults) {
    if config.state_dir.as_os_str().is_empty() {
        faults.add("state_dir", "it is missing");
    }
    if zone(&config.zone).is_none() {
        faults.add("zone", format!("there is no zone \"{}\"", config.zone));
    }
    if let Some(url) = &config.http.public_url
        && !is_url(url)
    {
        faults.add("http", "public_url begins with http:// or https://");
    }
    let scrape = &config.scrape;
    if scrape.interval.0.is_zero() || scrape.timeout.0.is_zero() {
        faults.add("scrape", "interval and timeout are longer than nothing");
    }
    if !(1024..=256 << 20).contains(&scrape.max_bytes) {
        faults.add("scrape", "max_bytes is 1024 to 268435456");
    }
    let own = &config.own;
    if own.attempts == 0 || own.failures == 0 || own.back_off.0.is_zero() {
        faults.add("own", "attempts, failures and back_off are more than nothing");
    }
    if !(100..=1_000_000).contains(&own.max_messages) {
        faults.add("own", "max_messages is 100 to 1000000");
    }
    if own.digest_from < 2 || own.digest_wait.millis() > 300_000 {
        faults.add("own", "digest_from is 2 or more, digest_wait 5m or less");
    }
    if let Err(found) = Texts::new(&config.texts) {
        found.into_iter().for_each(|what| faults.add("texts", what));
    }
    if let Some(heartbeat) = &config.heartbeat
        && time(&heartbeat.at).is_none()
    {
        faults.add("heartbeat", format!("\"{}\" is no time such as 08:00", heartbeat.at));
    }
}

fn is_url(url: &str) -> bool {
    let valid = url.parse::<hyper::Uri>().is_ok_and(|uri| uri.host().is_some());
    valid && (url.starts_with("http://") || url.starts_with("https://"))
}

/// Names are short words, and each is given once in its kind; contacts, groups and schedules are
/// one kind, since policies name them alike.
fn names(config: &Config, faults: &mut Faults) {
    let mut unique = |kind: &str, names: Vec<&str>| {
        let mut seen = BTreeSet::new();
        for name in names {
            let word = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
            if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
                faults.add(format!("{kind} \"{name}\""), "a name is 1 to 64 of A-Z a-z 0-9 _ . -");
            }
            if !seen.insert(name) {
                faults.add(format!("{kind} \"{name}\""), "it is there twice");
            }
        }
    };
    unique("node", config.nodes.iter().map(|one| one.name.as_str()).collect());
    let alarms = config.alarms.iter().map(|one| one.name.as_str());
    unique(
        "rule or alarm",
        config.rules.iter().map(|one| one.name.as_str()).chain(alarms).collect(),
    );
    unique("ups", config.upses.iter().map(|one| one.name.as_str()).collect());
    unique("user", config.users.iter().map(|one| one.name.as_str()).collect());
    unique("policy", config.policies.iter().map(|one| one.name.as_str()).collect());
    unique("channel", config.channels.iter().map(Channel::name).collect());
    let contacts = config.contacts.iter().map(|one| one.name.as_str());
    let groups = config.groups.iter().map(|one| one.name.as_str());
    let schedules = config.schedules.iter().map(|one| one.name.as_str());
    unique("contact, group or schedule", contacts.chain(groups).chain(schedules).collect());
}

fn check_node(node: &Node, faults: &mut Faults) {
    if !is_url(&node.url) {
        let what = format!("\"{}\" does not begin with http:// or https://", node.url);
        faults.add(format!("node \"{}\"", node.name), what);
    }
}

fn rules(config: &Config, faults: &mut Faults) {
    for rule in &config.rules {
        let at = format!("rule \"{}\"", rule.name);
        match Expr::parse(&rule.expr) {
            Ok(expr) if expr.reach_ms() > config.scrape.window.millis() => {
                faults.add(&at, "it looks further back than scrape.window");
            }
            Ok(_) => {}
            Err(error) => faults.add(&at, format!("expr: {error}")),
        }
        if !config.policies.iter().any(|policy| policy.name == rule.policy) {
            faults.add(&at, format!("there is no policy \"{}\"", rule.policy));
        }
        let sample = minijinja::context! { value => 0.0 };
        if let Err(error) = fill(&rule.summary, &sample) {
            faults.add(&at, format!("summary: {error}"));
        }
    }
    let own = config.own.policy.as_ref().map(|policy| ("own", policy));
    let posted = config.alertmanager.as_ref().map(|section| ("alertmanager", &section.policy));
    for (at, name) in own.into_iter().chain(posted) {
        if !config.policies.iter().any(|policy| policy.name == *name) {
            faults.add(at, format!("there is no policy \"{name}\""));
        }
    }
}

/// The cluster, alarms of the field, UPS.
fn watched(config: &Config, faults: &mut Faults) {
    if let Some(cluster) = &config.cluster {
        let urls = cluster.urls.iter().filter(|url| !is_url(url));
        for url in urls {
            faults.add("cluster", format!("\"{url}\" does not begin with http:// or https://"));
        }
        if cluster.urls.is_empty() {
            faults.add("cluster", "urls is empty");
        }
        if !(1_000..=300_000).contains(&cluster.lease.millis()) {
            faults.add("cluster", "lease is 1s to 5m");
        }
        if cluster.alone_after <= cluster.lease || cluster.timeout.0.is_zero() {
            faults.add("cluster", "alone_after is longer than lease, timeout than nothing");
        }
    }
    for rule in &config.alarms {
        let at = format!("alarm \"{}\"", rule.name);
        if config.cluster.is_none() {
            faults.add(&at, "alarms come from the cluster: there is no section cluster");
        }
        if !config.policies.iter().any(|policy| policy.name == rule.policy) {
            faults.add(&at, format!("there is no policy \"{}\"", rule.policy));
        }
        if rule.lasts.0.is_zero() || rule.lasts <= rule.hold {
            faults.add(&at, "lasts is longer than nothing and than for");
        }
        if let Err(error) = fill(&rule.summary, &minijinja::context! { time => "" }) {
            faults.add(&at, format!("summary: {error}"));
        }
    }
    for ups in &config.upses {
        let at = format!("ups \"{}\"", ups.name);
        if Address::parse(&ups.at).is_none() {
            faults.add(&at, format!("\"{}\" is not name@host or name@host:port", ups.at));
        }
        if ups.interval.0.is_zero() || ups.timeout.0.is_zero() {
            faults.add(&at, "interval and timeout are longer than nothing");
        }
    }
}

fn policies(config: &Config, faults: &mut Faults) {
    for policy in &config.policies {
        let at = format!("policy \"{}\"", policy.name);
        let steps = policy.escalate.iter().flat_map(|Escalation { to, .. }| to);
        known(config, &at, policy.to.iter().chain(steps), true, faults);
        if policy.to.is_empty() {
            faults.add(&at, "nobody is told");
        }
        if policy.repeat.0.as_secs() < 10 {
            faults.add(&at, "repeat is 10s or more");
        }
        if let Some(quiet) = &policy.quiet
            && Hours::parse(quiet).is_none()
        {
            faults.add(&at, format!("\"{quiet}\" are no hours such as 22:00-07:00"));
        }
    }
    if let Some(heartbeat) = &config.heartbeat {
        known(config, "heartbeat", heartbeat.to.iter(), true, faults);
    }
}

/// Names of contacts, schedules, and groups where those may stand.
fn known<'a>(
    config: &Config,
    at: &str,
    names: impl Iterator<Item = &'a String>,
    groups: bool,
    faults: &mut Faults,
) {
    for name in names {
        let found = config.contacts.iter().any(|contact| contact.name == *name)
            || config.schedules.iter().any(|schedule| schedule.name == *name)
            || groups && config.groups.iter().any(|group| group.name == *name);
        if !found {
            faults.add(at, format!("nobody is called \"{name}\""));
        }
    }
}

fn check_contact(config: &Config, contact: &Contact, faults: &mut Faults) {
    let at = format!("contact \"{}\"", contact.name);
    if !LANGUAGES.contains(&contact.language.as_str()) {
        faults.add(&at, format!("there is no language \"{}\"", contact.language));
    }
    if let Some(name) = &contact.zone
        && zone(name).is_none()
    {
        faults.add(&at, format!("there is no zone \"{name}\""));
    }
    if contact.ways.is_empty() {
        faults.add(&at, "it has no way");
    }
    for way in &contact.ways {
        match config.channels.iter().find(|channel| channel.name() == way.channel) {
            None => faults.add(&at, format!("there is no channel \"{}\"", way.channel)),
            Some(Channel::Smtp(_)) => {
                if way.to.parse::<lettre::message::Mailbox>().is_err() {
                    faults.add(&at, format!("\"{}\" is no mail address", way.to));
                }
            }
            Some(channel) if channel.is_sms() => {
                if let Err(error) = check_number(&way.to) {
                    faults.add(&at, format!("\"{}\": {error}", way.to));
                }
            }
            Some(_) => {}
        }
    }
}

fn people(config: &Config, faults: &mut Faults) {
    for group in &config.groups {
        let at = format!("group \"{}\"", group.name);
        known(config, &at, group.members.iter(), false, faults);
        if group.members.is_empty() {
            faults.add(&at, "it has no members");
        }
    }
    for schedule in &config.schedules {
        let at = format!("schedule \"{}\"", schedule.name);
        if let Err(what) = Rota::of(schedule, &config.zone) {
            faults.add(&at, what);
        }
        let stand_ins = schedule.substitutes.iter().map(|one| &one.member);
        for member in schedule.members.iter().chain(stand_ins) {
            if !config.contacts.iter().any(|contact| contact.name == *member) {
                faults.add(&at, format!("there is no contact \"{member}\""));
            }
        }
    }
}

fn check_channel(channel: &Channel, faults: &mut Faults) {
    let at = format!("channel \"{}\"", channel.name());
    match channel {
        Channel::Smtp(smtp) => check_smtp(&at, smtp, faults),
        Channel::Modem(modem) => {
            if modem.max_parts == 0 {
                faults.add(&at, "max_parts is 1 or more");
            }
            let pin = modem.pin.as_ref().map_or("0000", |pin| pin.expose());
            if !(4..=8).contains(&pin.len()) || !pin.bytes().all(|digit| digit.is_ascii_digit()) {
                faults.add(&at, "a PIN is 4 to 8 digits");
            }
        }
        Channel::Webhook(request) | Channel::SmsGateway(request) => {
            check_request(&at, request, faults);
        }
    }
}

fn check_smtp(at: &str, smtp: &Smtp, faults: &mut Faults) {
    if smtp.from.parse::<lettre::message::Mailbox>().is_err() {
        faults.add(at, format!("\"{}\" is no mail address", smtp.from));
    }
    if smtp.user.is_some() != smtp.password_file.is_some() {
        faults.add(at, "user and password_file belong together");
    }
    if smtp.tls == SmtpTls::None && smtp.user.is_some() {
        faults.add(at, "a password is not sent over a line in the clear: tls is starttls or tls");
    }
}

fn check_request(at: &str, request: &WebRequest, faults: &mut Faults) {
    if !is_url(&request.url) {
        let what = format!("\"{}\" does not begin with http:// or https://", request.url);
        faults.add(at, what);
    }
    if let Some(body) = &request.body
        && let Err(error) = fill(body, &minijinja::context! { to => "", text => "" })
    {
        faults.add(at, format!("body: {error}"));
    }
}
