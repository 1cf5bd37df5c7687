//! Backups in an S3 server that others wrote (Python package `moto`, pinned in
//! `tests/s3/requirements.txt`, installed into a throw-away environment beside the build).
//!
//! The address and the credentials of a store come from the environment, so the test runs itself
//! again with them.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use storage::archive::{Place, Put};
use storage::backup::{Kind, OperatorKey, Origin, Repository};

use crate::python;

/// Tells the inner run where the server is.
const ENDPOINT: &str = "AWS_ENDPOINT";
const SECRET: &str = "the-secret-of-the-store";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with an empty bucket `backups`.
fn server() -> (Server, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(python::environment("s3"))
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let until = Instant::now() + Duration::from_secs(60);
    while !made_bucket(port) {
        assert!(Instant::now() < until, "the S3 server does not answer");
        std::thread::sleep(Duration::from_millis(200));
    }
    (server, port)
}

fn made_bucket(port: u16) -> bool {
    use std::io::Write;
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = format!(
        "PUT /backups HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Runs `work` with a server's address in the environment; `name` is the test's own name.
fn with_server(name: &str, work: impl FnOnce()) {
    if std::env::var_os(ENDPOINT).is_some() {
        return work();
    }
    let (_server, port) = server();
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("s3::{name}"), "--nocapture"])
        .env(ENDPOINT, format!("http://127.0.0.1:{port}"))
        .envs([("AWS_ACCESS_KEY_ID", "someone"), ("AWS_SECRET_ACCESS_KEY", SECRET)])
        .env("AWS_REGION", "eu-central-1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains(SECRET), "the secret stands in a text");
}

fn content(octets: usize) -> Vec<u8> {
    (0..octets).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn objects_are_created_once_read_listed_and_removed() {
    with_server("objects_are_created_once_read_listed_and_removed", || {
        let place = Place::open("s3://backups/deep/er").unwrap();
        assert_eq!(place.list("").unwrap(), []);
        // Below one part, and above two of them.
        for (name, octets) in [("x/small", 1000), ("y/large", 20 << 20)] {
            let octets = content(octets);
            assert_eq!(place.put_new(name, &mut octets.as_slice()).unwrap(), Put::Stored);
            assert_eq!(place.put_new(name, &mut &b"other"[..]).unwrap(), Put::Existed);
            let mut found = Vec::new();
            place.get(name).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == octets, "{name}");
        }
        let large = ("y/large".to_owned(), 20 << 20);
        assert_eq!(place.list("").unwrap(), [("x/small".to_owned(), 1000), large.clone()]);
        assert_eq!(place.list("y/").unwrap(), [large]);
        place.remove("x/small").unwrap();
        place.remove("x/small").unwrap();
        assert_eq!(place.get("x/small").map(|_| ()).unwrap_err().code(), "not_found");
        let nowhere = Place::open("s3://no-such-bucket/x").unwrap();
        let error = nowhere.put_new("a", &mut &b"x"[..]).unwrap_err();
        assert!(error.report().contains("s3://no-such-bucket/x/a"), "{}", error.report());
    });
}

#[test]
fn a_chain_of_encrypted_backups_in_an_object_store() {
    with_server("a_chain_of_encrypted_backups_in_an_object_store", || {
        let open = |octet| {
            Repository::open("s3://backups/backups", Some(OperatorKey::new([octet; 32]))).unwrap()
        };
        let backups = open(3);
        let sizes = [500, 100_000, 9 << 20];
        for count in 1..=3 {
            let mut session = backups.begin(&count.to_string(), Kind::Incremental).unwrap();
            for octets in &sizes[..count] {
                let octets = content(*octets);
                let hash = *blake3::hash(&octets).as_bytes();
                let source = || Ok(Box::new(std::io::Cursor::new(octets.clone())) as Box<dyn Read>);
                session.add(&octets.len().to_string(), octets.len() as u64, &hash, source).unwrap();
            }
            session.finish(b"manifest", Origin::default()).unwrap();
        }
        let listed = backups.list().unwrap();
        assert_eq!(listed.len(), 3);
        for listed in &listed {
            let mut heard = 0;
            backups.verify(listed.record.as_ref().unwrap(), &mut |_| heard += 1).unwrap();
            assert!(heard > 1);
        }
        let last = backups.find(None).unwrap();
        assert_eq!(last.files.iter().filter(|file| file.new).count(), 1, "content was kept");
        assert_eq!(open(4).find(None).unwrap_err().code(), "backup_key");
        // One object is another's: found, and named.
        let place = Place::open("s3://backups/backups").unwrap();
        let objects = place.list("1/objects/").unwrap();
        let (victim, _) = objects.iter().find(|(_, octets)| *octets > 100_000).unwrap();
        let mut octets = Vec::new();
        place.get(victim).unwrap().read_to_end(&mut octets).unwrap();
        octets[70_000] ^= 1;
        place.remove(victim).unwrap();
        place.put_new(victim, &mut octets.as_slice()).unwrap();
        let error = backups.verify(&last, &mut |_| ()).unwrap_err();
        assert_eq!(error.code(), "backup_damaged");
        assert!(error.to_string().contains(victim), "{error}");
    });
}
