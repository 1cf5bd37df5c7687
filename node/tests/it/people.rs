//! People of one running node: logins, second factors, roles, regions, the audit trail; and every
//! route with every role.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::operators::{Permission, Role};
use node::http::{credentials, rules};
use serde_json::{Value, json};

use crate::support::{Answer, get, holdfast, one_node, post, request, run, stderr};

const PHRASE: &str = "a phrase that is long";

/// A node with a town of two regions, each with a concentrator and a meter.
struct Town {
    port: u16,
    token: String,
}

impl Town {
    fn founded(port: u16, token: &str) -> Town {
        let town = Town { port, token: token.to_owned() };
        for (name, id) in [("North", 1), ("South", 2)] {
            let made = town.post("/api/v1/regions", &json!({"name": name}));
            assert_eq!((made.status, made.json()["id"].as_u64()), (201, Some(id)), "{made:?}");
            let letter = &name[..1];
            let key = "000102030405060708090a0b0c0d0e0f";
            let concentrator = json!({"id": format!("C{letter}"), "guek": key, "gak": key,
                "system_title": format!("484644000000000{id}"), "name": name});
            assert_eq!(town.post("/api/v1/concentrators", &concentrator).status, 201);
            let meter =
                json!({"serial": format!("M{letter}"), "concentrator": format!("C{letter}")});
            assert_eq!(town.post("/api/v1/meters", &meter).status, 201);
            let placing = json!({"concentrators": [format!("C{letter}")], "reason": "built"});
            let placed = town.post(&format!("/api/v1/regions/{id}/devices"), &placing);
            assert_eq!(placed.status, 204, "{placed:?}");
            let point = json!({"facts": {"kind": "point", "region": id, "phases": "A",
                "address": format!("{name} Street 1"), "purpose": "consumption"}});
            let path = format!("/api/v1/network/points/P{letter}");
            let made = call(port, token, "PUT", &path, &point.to_string());
            assert_eq!(made.status, 200, "{made:?}");
        }
        town
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        post(self.port, &self.token, path, body)
    }

    /// Registers somebody with a role and logs in with a password of his own. Gives the session.
    fn somebody(&self, name: &str, role: Role, region: u32) -> String {
        let body = json!({"name": name, "full_name": name, "home": region});
        assert_eq!(self.post("/api/v1/operators", &body).status, 201);
        let body = json!({"role": role.name(), "region": region, "reason": "hired"});
        let granted = self.post(&format!("/api/v1/operators/{name}/grants"), &body);
        assert_eq!(granted.status, 201, "{granted:?}");
        let made = self.post(&format!("/api/v1/operators/{name}/password"), &Value::Null).json();
        let first = made["password"].as_str().unwrap().to_owned();
        let session = token(&self.login(name, &first, ""));
        let changed = post(
            self.port,
            &session,
            "/api/v1/session/password",
            &json!({"old": first, "new": PHRASE}),
        );
        assert_eq!(changed.status, 204, "{changed:?}");
        session
    }

    fn login(&self, user: &str, password: &str, code: &str) -> Answer {
        let body = json!({"user": user, "password": password, "code": code}).to_string();
        let kind = [("content-type", "application/json")];
        request(self.port, "POST", "/api/v1/session", &kind, &body).unwrap()
    }
}

fn token(session: &Answer) -> String {
    assert_eq!(session.status, 200, "{session:?}");
    session.json()["token"].as_str().unwrap().to_owned()
}

fn call(port: u16, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(port, method, path, &headers, body).expect("an answer")
}

#[test]
fn people_log_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let (config, founder, port) = one_node(dir.path());
    let mut node = run(&config, port);
    let town = Town::founded(port, &founder);

    // The first login is good for a new password alone.
    let body = json!({"name": "nora", "full_name": "Nora Ölander"});
    assert_eq!(town.post("/api/v1/operators", &body).status, 201);
    let made = town.post("/api/v1/operators/nora/password", &Value::Null).json();
    let first = made["password"].as_str().unwrap().to_owned();
    let login = town.login("nora", &first, "");
    assert_eq!(login.json()["set_up_needed"], true);
    let session = token(&login);
    let looked = get(port, &session, "/api/v1/meters");
    assert_eq!((looked.status, looked.code().as_str()), (403, "account_not_set_up"));
    let path = "/api/v1/session/password";
    for (old, new, status, code) in [
        ("wrong", PHRASE, 401, "wrong_login"),
        (first.as_str(), "short", 400, "weak_password"),
        (first.as_str(), first.as_str(), 400, "weak_password"),
        (first.as_str(), "nora likes it here", 400, "weak_password"),
    ] {
        let answer = post(port, &session, path, &json!({"old": old, "new": new}));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{new}");
    }
    assert_eq!(post(port, &session, path, &json!({"old": first, "new": PHRASE})).status, 204);
    let me = get(port, &session, "/api/v1/session").json();
    assert_eq!((&me["user"], &me["must_change_password"]), (&json!("nora"), &json!(false)));
    let looked = get(port, &session, "/api/v1/meters");
    assert_eq!((looked.status, looked.code().as_str()), (403, "not_allowed"), "no role yet");
    assert_eq!(town.login("nora", &first, "").code(), "wrong_login");

    second_factor(&town, &session);
    account_page(&town);
    wrong_logins(&town);
    leaver(&town);
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
}

fn second_factor(town: &Town, session: &str) {
    let path = "/api/v1/session/factor";
    let guessed = post(town.port, session, path, &json!({"password": "a wrong phrase"}));
    assert_eq!((guessed.status, guessed.code().as_str()), (401, "wrong_login"));
    let begun = post(town.port, session, path, &json!({"password": PHRASE}));
    assert_eq!(begun.status, 200, "{begun:?}");
    let begun = begun.json();
    assert!(begun["uri"].as_str().unwrap().starts_with("otpauth://totp/Holdfast:nora?secret="));
    let secret = base32(begun["secret"].as_str().unwrap());
    // Not confirmed: no code is asked for yet.
    assert_eq!(town.login("nora", PHRASE, "").status, 200);
    let path = "/api/v1/session/factor/confirm";
    let wrong = post(town.port, session, path, &json!({"code": "abcdef"}));
    assert_eq!(wrong.code(), "wrong_login");
    let first = code(&secret, 0);
    let good = post(town.port, session, path, &json!({"code": first}));
    assert_eq!(good.status, 204, "{good:?}");
    assert_eq!(town.login("nora", PHRASE, "").code(), "code_needed");
    assert_eq!(town.login("nora", PHRASE, &first).code(), "wrong_login", "used");
    // The next step's code is taken already: clocks differ by half a minute.
    let next = code(&secret, 30);
    let login = town.login("nora", PHRASE, &next);
    assert_eq!(login.status, 200, "{login:?}");
    assert_eq!(town.login("nora", PHRASE, &next).code(), "wrong_login", "used");
    let removed = call(town.port, &town.token, "DELETE", "/api/v1/operators/nora/factor", "");
    assert_eq!(removed.json()["second_factor"], false);
    assert_eq!(town.login("nora", PHRASE, "").status, 200);
}

/// The same in a browser: forms, the cookie, and no other site's forms.
fn account_page(town: &Town) {
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let send = |method: &str, path: &str, cookie: &str, site: &str, body: &str| {
        let headers = [kind, ("cookie", cookie), ("sec-fetch-site", site)];
        request(town.port, method, path, &headers, body).unwrap()
    };
    let login = format!("user=nora&password={}&code=", PHRASE.replace(' ', "+"));
    let entered = send("POST", "/login", "", "same-origin", &login);
    assert_eq!((entered.status, entered.header("location").as_deref()), (303, Some("/")));
    let cookie = entered.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let page = send("GET", "/me", cookie, "same-origin", "");
    assert!(page.status == 200 && page.body.contains("Change your password"), "{page:?}");
    let change = |old: &str, new: &str, again: &str, site: &str| {
        send("POST", "/me/password", cookie, site, &format!("old={old}&new={new}&again={again}"))
    };
    let old = PHRASE.replace(' ', "+");
    let crossed = change(&old, "another+long+phrase", "another+long+phrase", "cross-site");
    assert_eq!((crossed.status, crossed.code().as_str()), (403, "cross_site"));
    let differ = change(&old, "another+long+phrase", "another+phrase+too", "same-origin");
    assert!(differ.body.contains("The two new passwords differ."), "{differ:?}");
    let wrong = change("wrong", "another+long+phrase", "another+long+phrase", "same-origin");
    assert!(wrong.body.contains("The password until now was wrong."), "{wrong:?}");
    let good = change(&old, "another+long+phrase", "another+long+phrase", "same-origin");
    assert_eq!(good.header("location").as_deref(), Some("/me?done=password"), "{good:?}");
    let back = change("another+long+phrase", &old, &old, "same-origin");
    assert_eq!(back.status, 303, "the session stays: {back:?}");
    let language = |code: &str| {
        send("POST", "/me/language", cookie, "same-origin", &format!("language={code}"))
    };
    assert_eq!(language("es").header("location").as_deref(), Some("/me?done=language"));
    let page = send("GET", "/me", cookie, "same-origin", "");
    assert!(page.body.contains("<html lang=\"es\">"), "{page:?}");
    assert!(page.body.contains("Cambiar su contraseña"), "{page:?}");
    assert!(language("de").body.contains("bad_language"), "no such language");
    assert_eq!(language("en").status, 303);
    let factor = send("POST", "/me/factor", cookie, "same-origin", "password=wrong");
    assert!(factor.body.contains("The password until now was wrong."), "{factor:?}");
    let factor = send("POST", "/me/factor", cookie, "same-origin", &format!("password={old}"));
    assert!(factor.body.contains("otpauth://totp/Holdfast:nora"), "{factor:?}");
    let wrong = send("POST", "/me/factor/confirm", cookie, "same-origin", "code=abcdef");
    assert!(wrong.body.contains("That code was wrong."), "{wrong:?}");
    own_sessions(town, cookie, &old, &send);
    assert_eq!(send("POST", "/logout", cookie, "same-origin", "").status, 303);
    assert_eq!(send("GET", "/api/v1/session", cookie, "same-origin", "").status, 401);
}

/// Where one is logged in is seen, and ended with the password alone.
fn own_sessions(
    town: &Town,
    cookie: &str,
    password: &str,
    send: &impl Fn(&str, &str, &str, &str, &str) -> Answer,
) {
    let other = token(&town.login("nora", PHRASE, ""));
    let listed = get(town.port, &other, "/api/v1/session/all").json();
    let listed = listed["items"].as_array().unwrap().clone();
    let here = listed.iter().filter(|one| one["here"] == true).count();
    assert!(listed.len() >= 2 && here == 1, "{listed:?}");
    let end = |body: Value| post(town.port, &other, "/api/v1/session/all/end", &body);
    assert_eq!(end(json!({"password": "wrong"})).code(), "wrong_login");
    let unknown = end(json!({"password": PHRASE, "id": "0000000000000000"}));
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_session"));
    let page = send("GET", "/me", cookie, "same-origin", "");
    assert!(page.body.contains("Where you are logged in") && page.body.contains("● here"));
    let ended = send("POST", "/me/sessions/end", cookie, "same-origin", "password=wrong");
    assert!(ended.body.contains("The password until now was wrong."), "{ended:?}");
    let body = format!("password={password}");
    let ended = send("POST", "/me/sessions/end", cookie, "same-origin", &body);
    assert_eq!(ended.header("location").as_deref(), Some("/me?done=sessions"), "{ended:?}");
    assert_eq!(get(town.port, &other, "/api/v1/session").status, 401, "ended everywhere");
    assert_eq!(send("GET", "/me", cookie, "same-origin", "").status, 200, "this one goes on");
}

fn wrong_logins(town: &Town) {
    for _ in 0..5 {
        assert_eq!(town.login("nora", "a wrong phrase", "").code(), "wrong_login");
    }
    let shown = get(town.port, &town.token, "/api/v1/operators/nora").json();
    assert_eq!(shown["state"], "locked");
    assert_eq!(town.login("nora", PHRASE, "").code(), "wrong_login", "locked");
    let unlocked = town.post("/api/v1/operators/nora/unlock", &Value::Null);
    assert_eq!(unlocked.json()["state"], "active");
    assert_eq!(town.login("nora", PHRASE, "").status, 200);
    // An address that guesses has to wait, whatever names it tries.
    let mut last = String::new();
    for _ in 0..30 {
        last = town.login("nobody", "guessed guessed", "").code();
        if last == "too_many_logins" {
            break;
        }
    }
    assert_eq!(last, "too_many_logins");
}

fn leaver(town: &Town) {
    let token = {
        let body = json!({"name": "scada", "full_name": "SCADA", "program": true});
        assert_eq!(town.post("/api/v1/operators", &body).status, 201);
        let body = json!({"role": "auditor", "reason": "watches"});
        assert_eq!(town.post("/api/v1/operators/scada/grants", &body).status, 201);
        let made = town.post("/api/v1/operators/scada/tokens", &json!({"label": "x", "days": 9}));
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    };
    assert_eq!(get(town.port, &token, "/api/v1/meters").status, 200);
    let changed = post(town.port, &token, "/api/v1/meters", &json!({"serial": "X"}));
    assert_eq!(changed.code(), "not_allowed");
    let ended = town.post("/api/v1/operators/scada/end", &json!({"reason": "replaced"}));
    assert_eq!((ended.status, ended.json()["state"].as_str()), (200, Some("ended")));
    assert_eq!(get(town.port, &token, "/api/v1/meters").status, 401, "at once");
    let trail = get(town.port, &town.token, "/api/v1/audit?query=nora&limit=1000").json();
    let actions: Vec<&str> = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["action"].as_str())
        .collect();
    for action in ["operators.login", "operators.failed", "operators.password", "operators.unlock"]
    {
        assert!(actions.contains(&action), "{action} in {actions:?}");
    }
    assert!(!trail.to_string().contains(PHRASE));
}

fn code(secret: &[u8], later_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + later_s;
    // What an authenticator program does, by looking for the code that is taken.
    let texts = (0..1_000_000_u32).map(|number| format!("{number:06}"));
    let mut good = texts.filter(|text| {
        credentials::factor_step(secret, text, now).is_some_and(|step| step == now / 30)
    });
    good.next().expect("one of a million")
}

fn base32(text: &str) -> Vec<u8> {
    let (mut octets, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for letter in text.bytes() {
        let digit = if letter.is_ascii_uppercase() { letter - b'A' } else { letter - b'2' + 26 };
        held = (held << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            octets.push(u8::try_from((held >> bits) & 0xff).unwrap());
        }
    }
    octets
}

/// A route with things of a region in it, and whether it names a device of it.
fn filled(path: &str, letter: &str) -> (String, bool) {
    let filled = path
        .replace("{serial}", &format!("M{letter}"))
        .replace("/concentrators/{id}", &format!("/concentrators/C{letter}"))
        .replace("/{kind}/{number}/{of}", &format!("/points/P{letter}/contracts"))
        .replace("/{kind}/{number}", &format!("/points/P{letter}"))
        .replace("/points/{number}", &format!("/points/P{letter}"))
        .replace("/regions/{id}", if letter == "N" { "/regions/1" } else { "/regions/2" });
    let named = filled != path;
    let filled = filled
        .replace("/parameters/{name}", "/parameters/retention.profiles.kept_months")
        .replace("/models/{name}", "/models/generic")
        .replace("{kind}", "points")
        .replace("{grant}", "99")
        .replace("{number}", "0")
        .replace("{*rest}", "index.html")
        .replace("{name}", "nobody")
        .replace("{id}", "00000000000000000000000000000000");
    (filled, named)
}

/// What changes the caller's own login, or asks more than an empty request: tried elsewhere.
fn is_left_out(method: &str, path: &str) -> bool {
    (method, path) == ("DELETE", "/api/v1/session")
        || path.starts_with("/me/")
        || path.ends_with("/session/factor")
        || (method, path) == ("POST", "/api/v1/regions/{id}/close")
        || (method, path) == ("POST", "/api/v1/concentrators/{id}/switch")
        || (method, path) == ("POST", "/concentrators/{id}/switch")
        || (method, path) == ("POST", "/meters/{serial}/read")
}

#[test]
fn every_route_with_every_role() {
    let dir = tempfile::tempdir().unwrap();
    let (config, founder, port) = one_node(dir.path());
    let mut node = run(&config, port);
    let town = Town::founded(port, &founder);
    let mut wrong = Vec::new();
    for role in Role::ALL {
        let of_north = town.somebody(&format!("n-{}", role.name()), role, 1);
        let of_all = town.somebody(&format!("a-{}", role.name()), role, 0);
        for &(method, path, rule) in rules::RULES {
            if is_left_out(method, path) {
                continue;
            }
            let has = |what: &Permission| role.permissions().contains(what);
            let (north, all) = match rule {
                rules::Rule::Own => (true, true),
                rules::Rule::Some(what) => (has(&what), has(&what)),
                rules::Rule::Whole(what) => (false, has(&what)),
            };
            let body = if method == "GET" { "" } else { "{}" };
            let mut check = |who: &str, token: &str, letter: &str, may: bool, sees: bool| {
                let (mut path, named) = filled(path, letter);
                if path.ends_with("/search") {
                    path += "?text=street";
                }
                if path.ends_with("/sums") {
                    path += "?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z";
                }
                if path.ends_with("/changes") {
                    // A stream has no end; what is asked wrongly is answered at once.
                    path += "?topics=weather";
                }
                if path.ends_with("/live") {
                    path += "?length_s=1";
                }
                let answer = call(port, token, method, &path, body);
                let told = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
                let refused = answer.status == 403 && told["code"] == "not_allowed";
                // That it has no values yet is told of a meter that is seen.
                let missing = answer.status == 404 && told["code"] != "unknown_series";
                // A body that lacks everything is refused before anything is looked for.
                let hidden = named && may && !sees && method == "GET" && !missing;
                let lost = named && may && sees && method == "GET" && missing;
                if refused == may || hidden || lost || answer.status == 401 {
                    wrong.push(format!("{who} {method} {path}: {}", answer.status));
                }
            };
            check(&format!("{role:?} of north"), &of_north, "N", north, true);
            check(&format!("{role:?} of north"), &of_north, "S", north, false);
            check(&format!("{role:?} of all"), &of_all, "S", all, true);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    lists_are_scoped(&town);
    by_command_line(dir.path(), &town);
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
}

/// What a list shows is what its caller's regions hold.
fn lists_are_scoped(town: &Town) {
    let session = token(&town.login("n-operator", PHRASE, ""));
    for (path, own, foreign) in [
        ("/api/v1/meters", "MN", "MS"),
        ("/api/v1/concentrators", "CN", "CS"),
        ("/api/v1/regions", "North", "South"),
        ("/api/v1/collection/concentrators", "", "CS"),
        ("/api/v1/commands", "", "MS"),
        ("/api/v1/registry/points", "PN", "PS"),
        ("/api/v1/search?text=street", "PN", "PS"),
        ("/search?text=street", "North Street", "South Street"),
        ("/registry/points", "North Street", "South Street"),
        ("/meters", "MN", "MS"),
        ("/topology", "North", "South"),
        ("/topology", "CN", "CS"),
        ("/", "CN", "CS"),
    ] {
        let order = json!({"kind": "read", "attributes": [{"obis": "1-0:1.8.0"}]});
        town.post("/api/v1/commands", &json!({"target": "MS", "order": order}));
        let answer = get(town.port, &session, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains(own), "{path} without {own}");
        assert!(!answer.body.contains(foreign), "{path} with {foreign}: {}", answer.body);
    }
    let order = json!({"kind": "read", "attributes": [{"obis": "1-0:1.8.0"}]});
    for (target, status, code) in [("MS", 404, "unknown_target"), ("MX", 404, "unknown_target")] {
        let body = json!({"target": target, "order": order});
        let answer = post(town.port, &session, "/api/v1/commands", &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{target}");
    }
    let elsewhere = get(town.port, &session, "/topology?region=2");
    assert!(elsewhere.status == 404 && elsewhere.body.contains("unknown_region"));
    let of_readings = get(town.port, &session, "/api/v1/conflicts?meter=MS");
    assert_eq!((of_readings.status, of_readings.code().as_str()), (404, "unknown_meter"));
}

/// An administrator's day at a terminal.
fn by_command_line(dir: &Path, town: &Town) {
    let url = format!("http://127.0.0.1:{}", town.port);
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).display().to_string()
    };
    let phrase = write("phrase", PHRASE);
    let saved = dir.join("token").display().to_string();
    let said = |arguments: &[&str]| {
        let output = holdfast(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let login = ["login", "n-administrator", "--url", &url, "--password-file", &phrase];
    said(&[&login[..], &["--save", &saved]].concat());
    let with = |words: &[&'static str]| -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(["--url".into(), url.clone(), "--token-file".into(), saved.clone()]).collect()
    };
    let run = |words: &[&'static str]| {
        let words = with(words);
        said(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(run(&["whoami"]).contains("administrator in North"));
    assert!(run(&["region", "list"]).contains("1       North"));
    let first = run(&["operator", "add", "tom", "--full-name", "Tom", "--home", "1"]);
    assert_eq!(first.trim().len(), 23, "a password for the first login: {first}");
    let grant = ["operator", "grant", "tom", "dispatcher", "--region", "1", "--reason", "nights"];
    assert!(run(&grant).contains("waits for a second person"));
    let approve = with(&["operator", "approve", "tom", "1"]);
    let refused = holdfast(&approve.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(stderr(&refused).contains("second_person"), "{}", stderr(&refused));
    assert!(run(&["operator", "show", "tom"]).contains("waiting"));
    assert!(run(&["operator", "list"]).contains("tom"));
    let audit = with(&["audit"]);
    let refused = holdfast(&audit.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused.status.code(), Some(77), "the trail is the whole utility's");
    let trail =
        said(&["audit", "--url", &url, "--token", &town.token, "--operator", "n-administrator"]);
    assert!(trail.contains("operators.grant") && trail.contains("tom dispatcher in 1"), "{trail}");
    run(&["logout"]);
    let over = with(&["whoami"]);
    let over = holdfast(&over.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(over.status.code(), Some(77));
}

#[test]
fn every_route_has_a_rule_and_every_rule_a_route() {
    let (_, openapi) = node::http::api();
    let described = serde_json::to_value(&openapi).unwrap();
    let mut routes = Vec::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete", "patch"] {
            if item[method].is_object() {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    for (method, path) in &routes {
        let is_login = (method.as_str(), path.as_str()) == ("POST", "/api/v1/session");
        assert!(is_login || rules::rule(method, path).is_some(), "{method} {path} has no rule");
    }
    for (method, path, _) in rules::RULES {
        let known = |(its, at): &(String, String)| its == method && at == path;
        let is_page = !path.starts_with("/api/v1/");
        assert!(is_page || routes.iter().any(known), "there is no {method} {path}");
    }
}

#[test]
fn roles_and_routes_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/roles.md");
    let wanted = rules::document();
    if std::env::var_os("HOLDFAST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "write it anew: HOLDFAST_WRITE_DOCS=1 cargo nextest run -p node");
}
