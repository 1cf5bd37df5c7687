//! The API of one running node: login, problems, registering, headers, limits.

use std::time::Duration;

use serde_json::json;

use crate::support::{get, one_node, post, request, run};

const KEY: &str = "000102030405060708090a0b0c0d0e0f";
/// A scalar of P-256.
const SCALAR: &str = "0101010101010101010101010101010101010101010101010101010101010101";
/// A point of P-256: its generator (SEC 2, secp256r1).
const POINT: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                     4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

#[test]
fn one_node_answers_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let mut node = run(&config, port);
    without_a_token(port);
    login(port, &token);
    health(port, &token);
    registering(port, &token);
    bad_input(port, &token);
    commands(port, &token);
    parameters(port, &token);
    pages(port, &token);
    changes(port, &token);
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0), "SIGTERM is a clean end");
}

/// Who asks more than the node's limits allow is told how long to wait, and nobody else is.
#[test]
fn who_asks_too_often_has_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token, port) = one_node(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    let limits = "[http]\nmax_body_bytes = 2000\nlogins_per_minute = 3\nreads_per_second = 1\n\
        exports_per_second = 2\n";
    std::fs::write(&config, text.replace("[http]\n", limits)).unwrap();
    let mut node = run(&config, port);
    let too_many = |path: &str, most: usize| {
        let mut answers = (0..most).map(|_| get(port, &token, path));
        answers.find(|answer| answer.status == 429).expect("a limit")
    };
    let refused = too_many("/api/v1/meters", 200);
    assert_eq!(refused.code(), "too_many_requests");
    assert_eq!(refused.header("content-type").unwrap(), "application/problem+json");
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert!(refused.body.contains("reads of this login at this node; again after 1 s"));
    // Reads are used up; exports, health and metrics are not.
    assert_eq!(get(port, &token, "/api/v1/conflicts").status, 200);
    too_many("/api/v1/conflicts", 200);
    what_is_too_long_is_a_problem(port, &token);
    let order = post(port, &token, "/api/v1/commands", &json!({}));
    assert_ne!(order.status, 429, "writes have an allowance of their own: {order:?}");
    a_page_says_so(port, &token);
    let kind = [("content-type", "application/json")];
    let body = json!({"user": "admin", "password": token}).to_string();
    let logins = (0..5).map(|_| request(port, "POST", "/api/v1/session", &kind, &body).unwrap());
    let logins: Vec<(u16, Option<String>)> =
        logins.map(|login| (login.status, login.header("retry-after"))).collect();
    let good = logins.iter().filter(|(status, _)| *status == 200).count();
    let wait = logins.last().and_then(|(_, wait)| wait.clone()).expect("told how long");
    assert!((3..5).contains(&good), "{logins:?}");
    assert!((1..=20).contains(&wait.parse::<u32>().unwrap()), "one comes in 20 s: {wait}");
    let mut metrics = String::new();
    for _ in 0..50 {
        let answer = request(port, "GET", "/metrics", &[], "").unwrap();
        assert_eq!(answer.status, 200, "metrics are never refused");
        metrics = answer.body;
    }
    for kind in ["read", "export", "login"] {
        let none = format!("holdfast_http_limited_total{{kind=\"{kind}\"}} 0");
        assert!(metrics.contains("holdfast_http_limited_total") && !metrics.contains(&none));
    }
    assert!(metrics.contains("holdfast_http_limited_total{kind=\"address\"} 0"));
    assert_eq!(node.stop(Duration::from_secs(40)), Some(0));
}

/// A body above the limit, of whatever kind.
fn what_is_too_long_is_a_problem(port: u16, token: &str) {
    let (bearer, body) = (format!("Bearer {token}"), "x".repeat(3000));
    for (path, kind) in [
        ("/api/v1/meters", "application/json"),
        ("/api/v1/people/customers", "text/csv"),
        ("/api/v1/network/points?dry_run=true", "text/csv"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let answer = request(port, "POST", path, &headers, &body).unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{path}");
    }
}

fn a_page_says_so(port: u16, token: &str) {
    let bearer = format!("Bearer {token}");
    let headers =
        [("authorization", bearer.as_str()), ("accept", "text/html"), ("accept-language", "es")];
    let mut pages = (0..200).map(|_| request(port, "GET", "/meters", &headers, "").unwrap());
    let page = pages.find(|page| page.status == 429).expect("a limit");
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.body.contains("demasiadas peticiones; espere un momento"), "{}", page.body);
    assert_eq!(page.header("retry-after").as_deref(), Some("1"));
    assert!(page.header("content-security-policy").is_some());
}

fn without_a_token(port: u16) {
    for path in ["/api/v1/cluster", "/api/v1/meters", "/api/v1/meters/X", "/api/openapi.json", "/"]
    {
        let answer = request(port, "GET", path, &[], "").unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{path}");
        assert_eq!(answer.header("content-type").unwrap(), "application/problem+json");
        let wrong = get(port, "hfa_00", path);
        assert_eq!(wrong.status, 401, "{path}");
    }
    let page = request(port, "GET", "/", &[("accept", "text/html")], "").unwrap();
    assert_eq!((page.status, page.header("location").as_deref()), (303, Some("/login")));
    for path in ["/livez", "/healthz", "/readyz", "/leaderz", "/metrics", "/login"] {
        assert_eq!(request(port, "GET", path, &[], "").unwrap().status, 200, "{path}");
    }
}

fn login(port: u16, token: &str) {
    let kind = [("content-type", "application/json")];
    let body = json!({"user": "admin", "password": "wrong"}).to_string();
    let wrong = request(port, "POST", "/api/v1/session", &kind, &body).unwrap();
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "wrong_login"));
    let body = json!({"user": "admin", "password": token}).to_string();
    let good = request(port, "POST", "/api/v1/session", &kind, &body).unwrap();
    assert_eq!(good.status, 200, "{good:?}");
    let cookie = good.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let session = good.json()["token"].as_str().unwrap().to_string();
    assert_ne!(session, token);
    assert_eq!(get(port, &session, "/api/v1/cluster").status, 200);
    let cookie = cookie.split(';').next().unwrap().to_string();
    let by_cookie = request(port, "GET", "/api/v1/cluster", &[("cookie", &cookie)], "").unwrap();
    assert_eq!(by_cookie.status, 200);
    let crossed = [
        ("cookie", cookie.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/json"),
    ];
    let crossed = request(port, "POST", "/api/v1/commands", &crossed, "{}").unwrap();
    assert_eq!((crossed.status, crossed.code().as_str()), (403, "cross_site"));
}

/// What changes is told by its kind, to who asked for that kind.
fn changes(port: u16, token: &str) {
    use std::io::{BufRead, BufReader, Write};
    let refused = get(port, token, "/api/v1/changes?topics=weather");
    assert_eq!((refused.status, refused.code().as_str()), (400, "unknown_topic"));
    let listen = |topics: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let text = format!(
            "GET /api/v1/changes?topics={topics} HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains(" 200 "));
        lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()))
    };
    let heard = |text: String| -> serde_json::Value { serde_json::from_str(&text).unwrap() };
    let mut events = listen("devices,drills");
    let open = heard(events.next().unwrap());
    assert_eq!(open["topics"], json!(["devices", "drills"]));
    let body = json!({"id": "HFDTEST000000009", "system_title": "4846440000000009",
        "name": "told", "guek": KEY, "gak": KEY});
    let before = open["applied_index"].as_u64().unwrap();
    let added = post(port, token, "/api/v1/concentrators", &body);
    assert_eq!(added.status, 201, "{}", added.body);
    let told = heard(events.next().unwrap());
    assert_eq!(told["topics"], json!(["devices"]));
    assert!(told["applied_index"].as_u64().unwrap() > before, "{told}");
    // A caller may listen so often and no more, and a place that is left is free again.
    let mut more: Vec<_> = (0..15).map(|_| listen("drills")).collect();
    let refused = get(port, token, "/api/v1/changes");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_streams"));
    more.clear();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let streams = || {
        let text = request(port, "GET", "/metrics", &[], "").unwrap().body;
        text.lines().any(|line| line == "holdfast_change_streams 1")
    };
    while !streams() {
        assert!(std::time::Instant::now() < until, "places are not given back");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn health(port: u16, token: &str) {
    let verbose = request(port, "GET", "/readyz?verbose", &[], "").unwrap();
    assert!(verbose.body.contains("[+]leader ok\n"), "{}", verbose.body);
    let metrics = request(port, "GET", "/metrics", &[], "").unwrap();
    assert_eq!(metrics.header("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    for name in [
        "holdfast_build_info{",
        "process_resident_memory_bytes",
        "holdfast_http_requests_total{",
        "holdfast_collection_values_expected{",
        "holdfast_collection_values{",
        "holdfast_collection_concentrator_rate{",
        "holdfast_cluster_term",
        "holdfast_storage_wal_flush_seconds",
        "holdfast_gateway_",
        "route=\"/readyz\"",
    ] {
        assert!(metrics.body.contains(name), "{name}");
    }
    let cluster = get(port, token, "/api/v1/cluster").json();
    assert_eq!(cluster["leader"], "n1");
    assert_eq!(cluster["nodes"][0]["role"], "leader");
    let index = cluster["applied_index"].as_u64().unwrap();
    let at = get(port, token, &format!("/api/v1/cluster?index={index}")).json();
    assert_eq!(at["at"]["index"], index);
    assert_eq!(at["at"]["state_hash"].as_str().map(str::len), Some(64), "{at}");
    let openapi = get(port, token, "/api/openapi.json").json();
    assert_eq!(openapi["openapi"], "3.1.0");
    for path in ["/api/v1/cluster", "/api/v1/session", "/api/v1/meters/{serial}/readings"] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    let answer = get(port, token, "/api/v1/cluster");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options").unwrap(), "nosniff");
    assert_eq!(answer.header("cache-control").unwrap(), "no-store");
}

fn registering(port: u16, token: &str) {
    let concentrator = json!({"id": "HFDTEST000000001", "system_title": "4846440000000001",
        "name": "test", "guek": KEY, "gak": KEY});
    for _ in 0..2 {
        let made = post(port, token, "/api/v1/concentrators", &concentrator);
        assert_eq!(made.status, 201, "the very same again is no change: {made:?}");
        assert!(!made.body.contains(KEY), "no answer holds a key");
        assert!(made.json()["channel"].is_null());
    }
    let mut other = concentrator.clone();
    other["name"] = json!("another");
    let refused = post(port, token, "/api/v1/concentrators", &other);
    assert_eq!((refused.status, refused.code().as_str()), (409, "concentrator_exists"));
    let items: Vec<_> = (0..30)
        .map(|n| {
            json!({"serial": format!("T{n:03}"), "concentrator": "HFDTEST000000001",
            "guek": KEY, "gak": KEY, "model": "m"})
        })
        .chain([json!({"serial": "T999", "concentrator": "NOBODY"})])
        .collect();
    let made = post(port, token, "/api/v1/meters/import", &json!({"items": items})).json();
    assert_eq!(made["added"], 30, "{made}");
    assert_eq!(made["refused"][0]["code"], "unknown_concentrator");
    let page = get(port, token, "/api/v1/meters?limit=7&query=t0").json();
    assert_eq!(page["items"].as_array().unwrap().len(), 7);
    let next = page["next"].as_str().unwrap();
    let page = get(port, token, &format!("/api/v1/meters?limit=100&cursor={next}")).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 23);
    assert!(page["next"].is_null());
    let direct = json!({"serial": "D1", "address": "127.0.0.1:9", "auth": "hls5",
        "guek": KEY, "gak": KEY, "system_title": "4846440000000002"});
    let made = post(port, token, "/api/v1/meters", &direct);
    assert_eq!((made.status, made.json()["client_sap"].clone()), (201, json!(16)), "{made:?}");
    let shown = get(port, token, "/api/v1/meters/D1").json();
    assert_eq!((&shown["auth"], &shown["series"]), (&json!("hls5"), &json!([])), "{shown}");
    secured(port, token);
    let empty = get(port, token, "/api/v1/meters/T000/readings?obis=1-0:1.8.0").json();
    assert_eq!(empty["values"], json!([]));
}

/// A meter of HLS 7 in suite 1, with any policy and keys that are on the curve.
fn secured(port: u16, token: &str) {
    let full = json!({"serial": "D7", "address": "127.0.0.1:9", "auth": "hls7", "suite": 1,
        "policy": "v1:fc", "wrapping": "general", "dedicated_key": true, "client_sap": 1,
        "client_title": "4846440000000099", "guek": KEY, "gak": KEY, "signing_key": SCALAR,
        "meter_signing_key": POINT});
    let made = post(port, token, "/api/v1/meters", &full);
    assert_eq!(made.status, 201, "{made:?}");
    let shown = get(port, token, "/api/v1/meters/D7");
    assert!(!shown.body.contains(SCALAR) && !shown.body.contains(POINT), "no answer holds a key");
    let shown = shown.json();
    for (name, value) in [
        ("auth", json!("hls7")),
        ("suite", json!(1)),
        ("policy", json!("v1:fc")),
        ("wrapping", json!("general")),
        ("dedicated_key", json!(true)),
        ("client_title", json!("4846440000000099")),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    let without = |names: &[&str], change: serde_json::Value| {
        let mut body = full.clone();
        body["serial"] = json!("D8");
        let fields = body.as_object_mut().unwrap();
        names.iter().for_each(|name| drop(fields.remove(*name)));
        fields.extend(change.as_object().unwrap().clone());
        body
    };
    for (body, status, code) in [
        (without(&["suite", "dedicated_key", "policy"], json!({})), 400, "bad_key"),
        (without(&["signing_key"], json!({})), 400, "bad_auth"),
        (without(&["meter_signing_key"], json!({"auth": "hls5"})), 400, "bad_auth"),
        (without(&["gak"], json!({})), 400, "bad_auth"),
        (without(&["guek", "gak"], json!({})), 400, "bad_auth"),
        (without(&[], json!({"auth": "hls6"})), 400, "bad_auth"),
        (without(&[], json!({"auth": "hls2"})), 400, "bad_auth"),
        (without(&[], json!({"suite": 2})), 400, "bad_key"),
        (without(&[], json!({"signing_key": "00".repeat(32)})), 400, "bad_key"),
        (without(&[], json!({"meter_signing_key": "11".repeat(64)})), 400, "bad_key"),
        (without(&[], json!({"suite": 3})), 400, "bad_security"),
        (without(&[], json!({"policy": "4"})), 400, "bad_security"),
        (without(&[], json!({"wrapping": "paper"})), 400, "bad_security"),
        (without(&[], json!({"policy": "v1:90"})), 422, "bad_security"),
        (without(&[], json!({"system_title": "4846440000000099"})), 422, "bad_security"),
        (without(&["client_sap"], json!({"address": "iec+tcp://h:1"})), 400, "bad_auth"),
    ] {
        let answer = post(port, token, "/api/v1/meters", &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}: {answer:?}");
    }
    let behind = json!({"serial": "D9", "concentrator": "HFDTEST000000001", "suite": 1});
    let answer = post(port, token, "/api/v1/meters", &behind);
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_attach"), "{answer:?}");
}

fn bad_input(port: u16, token: &str) {
    assert_eq!(request(port, "TRACE", "/livez", &[], "").unwrap().status, 405);
    let twice = get(port, token, "/api/v1/meters?limit=1&limit=2");
    assert_eq!((twice.status, twice.code().as_str()), (400, "bad_query"), "{twice:?}");
    for (body, status, code) in [
        (json!({"serial": "X"}), 400, "bad_attach"),
        (json!({"serial": "X", "address": "h:1", "auth": "hls5"}), 400, "bad_auth"),
        (json!({"serial": "X", "address": "h:1", "guek": "zz"}), 400, "bad_key"),
        (json!({"serial": "X", "address": "h:1", "guek": "00", "gak": KEY}), 400, "bad_key"),
        (json!({"serial": "X", "address": "h:1", "guek": KEY}), 400, "bad_auth"),
        (json!({"serial": "X", "address": "h:1", "colour": 1}), 422, "bad_body"),
        (json!({"serial": "bad serial", "address": "h:1"}), 422, "bad_serial"),
    ] {
        let answer = post(port, token, "/api/v1/meters", &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}: {answer:?}");
    }
    for (path, status, code) in [
        ("/api/v1/meters/NONE", 404, "unknown_meter"),
        ("/api/v1/concentrators/NONE", 404, "unknown_concentrator"),
        ("/api/v1/commands/zz", 404, "unknown_command"),
        ("/api/v1/commands/00000000000000000000000000000000", 404, "unknown_command"),
        ("/api/v1/nothing", 404, "unknown_route"),
        ("/api/v1/meters?limit=many", 400, "bad_query"),
        ("/api/v1/meters/T000/readings?obis=1.8", 400, "bad_obis"),
        ("/api/v1/meters/T000/readings?from=soon", 400, "bad_time"),
        ("/api/v1/meters/T000/readings?from=5&to=4", 400, "bad_range"),
    ] {
        let answer = get(port, token, path);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}: {answer:?}");
    }
    let bearer = format!("Bearer {token}");
    let long = "x".repeat(9 << 20);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let answer = request(port, "POST", "/api/v1/meters", &headers, &long);
    // The refusal may be cut by the reset of a connection whose body nobody reads.
    if let Ok(answer) = answer {
        assert!(answer.status == 413 || answer.status == 0, "{}", answer.status);
    }
    assert_eq!(get(port, token, "/livez").status, 200, "and the node lives on");
}

fn commands(port: u16, token: &str) {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "abc"),
    ];
    let order = json!({"target": "T000", "expires_in_s": 1,
        "order": {"kind": "read", "attributes": [{"obis": "1-0:1.8.0"}]}});
    let queue = |body: &serde_json::Value| {
        request(port, "POST", "/api/v1/commands", &headers, &body.to_string()).unwrap()
    };
    let first = queue(&order);
    assert_eq!(first.status, 202, "{first:?}");
    let id = first.json()["id"].as_str().unwrap().to_string();
    assert_eq!(queue(&order).json()["id"], id.as_str(), "a repeat is the same command");
    let mut other = order.clone();
    other["target"] = json!("T001");
    assert_eq!(queue(&other).code(), "idempotency_key_reused");
    let ended = get(port, token, &format!("/api/v1/commands/{id}?wait=10")).json();
    assert_eq!(ended["state"], "expired", "nobody has its channel: {ended}");
    let list = get(port, token, "/api/v1/commands?limit=5").json();
    assert_eq!(list["items"][0]["id"], id.as_str());
    other["target"] = json!("NOBODY");
    let refused = post(port, token, "/api/v1/commands", &other);
    assert_eq!((refused.status, refused.code().as_str()), (404, "unknown_target"));
}

/// Versions, bounds and refusals of a parameter, by API and command line.
fn parameters(port: u16, token: &str) {
    let name = "retention.profiles.online_months";
    let path = format!("/api/v1/parameters/{name}");
    let list = get(port, token, "/api/v1/parameters").json();
    assert!(list["items"].as_array().unwrap().iter().any(|one| one["name"] == name), "{list}");
    let before = get(port, token, &path).json();
    assert_eq!((&before["value"], &before["last_version"]), (&json!(0), &json!(0)), "{before}");
    let body = json!({"value": 24, "seen": 0, "reason": "disks"});
    let set = post(port, token, &path, &body);
    assert_eq!((set.status, set.json()["value"].clone()), (200, json!(24)), "{set:?}");
    for (change, status, code) in [
        (json!({"seen": 0}), 422, "version_changed"),
        (json!({"value": 2}), 422, "bad_parameter"),
        (json!({"reason": ""}), 422, "bad_reason"),
        (json!({"from": "2001-01-01T00:00:00Z"}), 422, "bad_validity"),
        (json!({"from": "soon"}), 400, "bad_time"),
        (json!({"value": -1}), 422, "bad_body"),
    ] {
        let mut wrong = json!({"value": 12, "seen": 1, "reason": "x"});
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = post(port, token, &path, &wrong);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{wrong}");
    }
    let nothing = post(port, token, "/api/v1/parameters/colour", &body);
    assert_eq!((nothing.status, nothing.code().as_str()), (404, "unknown_parameter"));
    let later = json!({"value": 36, "seen": 1, "reason": "more", "from": "2028-01-01T00:00:00Z"});
    let later = post(port, token, &path, &later).json();
    assert_eq!((&later["value"], &later["last_version"]), (&json!(24), &json!(2)), "{later}");
    let url = format!("http://127.0.0.1:{port}");
    let set = ["parameters", "set", name, "0", "--reason", "never", "--json", "--url", &url];
    let told = crate::support::command(&set).args(["--token", token]).output().unwrap();
    assert!(told.status.success(), "{}", crate::support::stderr(&told));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["value"], &told["version"]), (&json!(0), &json!(3)), "{told}");
    assert_eq!(told["history"].as_array().unwrap().len(), 3);
}

fn pages(port: u16, token: &str) {
    for (path, text) in [
        ("/", "HFDTEST000000001"),
        ("/meters", "T000"),
        ("/meters/T000", "Meter T000"),
        ("/api/docs/", "swagger"),
    ] {
        let page = get(port, token, path);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.body.contains(text), "{path} lacks {text}");
        if !path.starts_with("/api") {
            let scripts = page.body.matches("<script").count();
            let fresh =
                page.body.matches("<script src=\"/assets/fresh.js\" defer></script>").count();
            assert_eq!((scripts, fresh), (1, 1), "{path}: a script of ours, and none inline");
            assert!(!page.body.contains("http-equiv"), "{path}: nobody's typing is wiped away");
            assert!(!page.body.contains("style=\""), "{path}: no inline style");
        }
    }
    assert_eq!(get(port, token, "/meters/NONE").status, 404);
    let css = request(port, "GET", "/assets/page.css", &[], "").unwrap();
    assert!(css.header("content-type").unwrap().starts_with("text/css"));
}
