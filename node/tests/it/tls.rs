//! The ports of a node with TLS: browsers, the command line, concentrators; certificates that are
//! renewed while the node works.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Guard, command, holdfast, one_node, request, stderr};

/// An authority whose certificates are for this host.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
struct Made {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn make(&self) -> Made {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Made { chain: made.pem(), key: key.serialize_pem() }
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

impl Made {
    fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.pem")), &self.chain).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), &self.key).unwrap();
    }
}

/// A connection that trusts an authority and shows a certificate, if it has one.
fn dial(
    port: u16,
    authority: &Authority,
    own: Option<&Made>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_slice(own.chain.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The whole answer to one request.
fn ask(port: u16, authority: &Authority, path: &str, more: &str) -> std::io::Result<String> {
    let mut stream = dial(port, authority, None)?;
    let head = format!("{path} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n{more}");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

/// The certificate that a port shows, also to those whom it refuses then.
fn shown(port: u16, authority: &Authority) -> CertificateDer<'static> {
    let stream = dial(port, authority, None).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A node with TLS at both ports, whose log goes to a file.
struct Node {
    guard: Guard,
    log: PathBuf,
    token: String,
    port: u16,
}

impl Node {
    fn start(dir: &Path, ours: &Authority, field: &Authority) -> Node {
        let (config, token, port) = one_node(dir);
        let folder = config.parent().unwrap();
        ours.make().write(folder, "http");
        ours.make().write(folder, "field");
        std::fs::write(folder.join("concentrators.pem"), field.pem()).unwrap();
        let text = std::fs::read_to_string(&config).unwrap();
        let http = "[http]\ntls_certificate_file = \"http.pem\"\ntls_key_file = \"http.key\"\n";
        let gateway = format!(
            "[gateway]\ntls_listen = \"127.0.0.1:{}\"\ntls_certificate_file = \"field.pem\"\n\
             tls_key_file = \"field.key\"\ntls_client_ca_file = \"concentrators.pem\"\n",
            port + 300
        );
        let text = text.replace("[http]\n", http).replace("[gateway]\n", &gateway);
        std::fs::write(&config, text.replace("http = \"http://", "http = \"https://")).unwrap();
        let log = dir.join("log");
        let child = command(&["run", "--config", &config.display().to_string()])
            .stdout(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let node = Node { guard: Guard(child), log, token, port };
        let until = Instant::now() + Duration::from_secs(120);
        let ready = || {
            ask(port, ours, "GET /readyz", "\r\n")
                .is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
        };
        while !ready() {
            assert!(Instant::now() < until, "not ready:\n{}", node.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        node
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Has the node read its certificates again, and waits for what it says of them.
    fn reload(&self, words: &str) {
        let before = self.said().matches(words).count();
        let pid = rustix::process::Pid::from_child(&self.guard.0);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while self.said().matches(words).count() == before {
            assert!(Instant::now() < until, "nothing said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn both_ports_speak_tls_and_take_new_certificates_while_they_work() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, field) = (Authority::new(), Authority::new());
    let mut node = Node::start(dir.path(), &ours, &field);
    browsers(&node, &ours);
    by_command_line(dir.path(), &node, &ours);
    concentrators(&node, &ours, &field);
    renewal(dir.path(), &node, &ours);
    assert_eq!(node.guard.stop(Duration::from_secs(40)), Some(0));
}

fn browsers(node: &Node, ours: &Authority) {
    let page = ask(node.port, ours, "GET /login", "accept: text/html\r\n\r\n").unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("strict-transport-security: max-age=63072000; includeSubDomains"));
    let body = format!("user=admin&password={}", node.token);
    let form = format!(
        "content-type: application/x-www-form-urlencoded\r\nsec-fetch-site: same-origin\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let login = ask(node.port, ours, "POST /login", &form).unwrap();
    let cookie = login.lines().find(|line| line.starts_with("set-cookie: ")).expect("a cookie");
    assert!(cookie.starts_with("set-cookie: __Host-holdfast="), "the name binds it to the host");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && cookie.ends_with("; Secure"));
    // Who comes without TLS is told so, and gets nothing else.
    let plain = request(node.port, "GET", "/metrics", &[], "").unwrap();
    assert_eq!((plain.status, plain.code().as_str()), (400, "tls_needed"));
    assert_eq!(plain.header("content-length"), Some(plain.body.len().to_string()));
    assert!(ask(node.port, &Authority::new(), "GET /", "\r\n").is_err(), "another authority");
}

fn by_command_line(dir: &Path, node: &Node, ours: &Authority) {
    let trusted = dir.join("trusted.pem");
    std::fs::write(&trusted, ours.pem()).unwrap();
    let (trusted, url) =
        (trusted.display().to_string(), format!("https://localhost:{}", node.port));
    let told = holdfast(&["status", "--url", &url, "--token", &node.token, "--ca-file", &trusted]);
    assert!(told.status.success(), "{}", stderr(&told));
    let strange = holdfast(&["status", "--url", &url, "--token", &node.token]);
    assert!(!strange.status.success() && stderr(&strange).contains("certificate"));
    assert!(!stderr(&strange).contains(&node.token));
    let nothing = dir.join("nothing.pem");
    std::fs::write(&nothing, "nothing").unwrap();
    let nothing = nothing.display().to_string();
    let told = holdfast(&["status", "--url", &url, "--ca-file", &nothing]);
    assert!(stderr(&told).contains("bad_certificate"), "{}", stderr(&told));
}

fn concentrators(node: &Node, ours: &Authority, field: &Authority) {
    let port = node.port + 300;
    // With TLS 1.3 who is refused learns it when he reads.
    let is_in = |own: Option<&Made>| {
        let Ok(mut stream) = dial(port, ours, own) else { return false };
        stream.sock.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let read = stream.read(&mut [0]).map_err(|error| error.kind());
        matches!(read, Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    };
    assert!(is_in(Some(&field.make())), "its authority is ours to trust");
    assert!(!is_in(None), "nobody without a certificate");
    assert!(!is_in(Some(&ours.make())), "nor with one of another authority");
}

fn renewal(dir: &Path, node: &Node, ours: &Authority) {
    let folder = dir.join("c/n1");
    let ports = [node.port, node.port + 300];
    let before = shown(node.port, ours);
    ours.make().write(&folder, "http");
    node.reload("the certificate was read again");
    let after = shown(node.port, ours);
    assert_ne!(before, after);
    // Half of a copy changes neither port.
    std::fs::write(folder.join("http.key"), ours.make().key).unwrap();
    let field = shown(ports[1], ours);
    ours.make().write(&folder, "field");
    node.reload("the certificates of the ports stay as they were");
    assert_eq!((shown(ports[0], ours), shown(ports[1], ours)), (after, field));
}

#[test]
fn half_of_what_tls_needs_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let (config, ..) = one_node(dir.path());
    let text = std::fs::read_to_string(&config).unwrap();
    for (section, line, fault) in [
        ("http", "tls_key_file = \"k.pem\"", "http.tls_certificate_file = none: is needed beside"),
        ("http", "tls_certificate_file = \"c.pem\"", "http.tls_key_file = none: is needed beside"),
        ("gateway", "tls_listen = \"127.0.0.1:1\"", "gateway.tls_certificate_file = none"),
        ("gateway", "tls_client_ca_file = \"c.pem\"", "gateway.tls_listen = none: is needed"),
        ("gateway", "tls_listen = \"here\"", "must be an IP address and a port, or none"),
    ] {
        let section = format!("[{section}]\n");
        let text = text.replace(&section, &format!("{section}{line}\n"));
        std::fs::write(&config, text).unwrap();
        let told = holdfast(&["check-config", &config.display().to_string()]);
        assert_eq!(told.status.code(), Some(64), "{line}");
        assert!(stderr(&told).contains(fault), "{line}: {}", stderr(&told));
    }
}
