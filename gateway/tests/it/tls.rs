//! The TLS port: a simulated concentrator through a tunnel that ends TLS, and who is not let in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::NodeId;
use gateway::{ChannelRole, Config, ServerTls};
use rcgen::CertifiedKey;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use simulator::run::Running;
use simulator::tally::Count;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::pair::{cluster, field, register_concentrators, register_meters};
use crate::support::{House, eventually, join};

struct Certificate {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

fn certificate() -> Certificate {
    let names = vec!["head-end.test".to_owned()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    Certificate { pem: cert.pem(), key: signing_key.serialize_pem(), der: cert.der().clone() }
}

/// A client that trusts this certificate and shows none.
fn connector(trusted: &Certificate) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("head-end.test").unwrap()
}

async fn house(certificate: &Certificate, client_authority: Option<&str>) -> House {
    let (chain, key) = (certificate.pem.as_bytes(), certificate.key.as_bytes());
    let tls = ServerTls::new(chain, key, client_authority.map(str::as_bytes), &[]).unwrap();
    let plain = Config::for_test();
    let config = Config { tls_listen: Some(plain.listen), ..plain };
    join(cluster(), NodeId(1), config, Some(tls.config())).await
}

/// Carries every connection on to `target` inside TLS, as a concentrator's modem would.
async fn tunnel(target: SocketAddr, connector: TlsConnector) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await.unwrap();
                let mut far = connector.connect(name(), far).await.unwrap();
                // Either end may close at any time; that is no fault of the tunnel.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concentrator_delivers_over_tls() {
    let certificate = certificate();
    let house = house(&certificate, None).await;
    let target = house.gateway.tls_address().unwrap();
    let address = tunnel(target, connector(&certificate)).await;
    let folder = tempfile::tempdir().unwrap();
    let field = field(vec![address.to_string()], 1, &folder.path().join("journal"));
    let running = Running::start(&field).await.unwrap();
    register_concentrators(&house.cluster, running.registry());
    register_meters(&house.cluster, running.registry());
    eventually("a day of three meters is acknowledged", || {
        running.tally().get(Count::RowsAcknowledged) >= 96 * 3
    })
    .await;
    let channels = house.gateway.channels();
    assert!(channels.iter().all(|channel| channel.tls && channel.role == ChannelRole::Active));
    assert_eq!(channels.len(), 1);
    assert_eq!(running.tally().violations(), 0, "{:?}", running.tally().violation_texts());
    running.kill().await;
}

#[tokio::test]
async fn who_speaks_no_tls_or_shows_no_certificate_is_refused_and_counted() {
    let refused = "holdfast_gateway_connections_refused_total";
    let ours = certificate();
    let house = house(&ours, Some(&certificate().pem)).await;
    let target = house.gateway.tls_address().unwrap();

    let mut plain = TcpStream::connect(target).await.unwrap();
    plain.write_all(&[0, 1, 0, 1, 0, 102, 0, 1, 0]).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut answer));
    assert!(ended.await.is_ok(), "still open");
    eventually("plain octets are counted", || house.metric(refused, "tls") == 1.0).await;

    let stream = TcpStream::connect(target).await.unwrap();
    // With TLS 1.3 the client learns of the refusal only when it reads.
    if let Ok(mut stream) = connector(&ours).connect(name(), stream).await {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await;
        assert!(read.is_ok_and(|read| read.is_err()), "a client without a certificate got in");
    }
    eventually("a missing certificate is counted", || house.metric(refused, "tls") == 2.0).await;

    let stream = TcpStream::connect(target).await.unwrap();
    let stranger = connector(&certificate()).connect(name(), stream).await;
    assert!(stranger.is_err(), "a client that does not know our certificate");
    eventually("it is counted", || house.metric(refused, "tls") == 3.0).await;
    assert!(house.gateway.channels().is_empty());
}
