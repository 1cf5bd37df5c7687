//! The transport's rules: warm links, bounded calls, clean ends, refused strangers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cluster::{
    Config,
    metrics::Metrics,
    transport::{
        Cut, Endpoint, FrameReceiver, FrameSender, Handler, Kind, Link, LinkError, Trouble,
        udp_endpoint,
    },
};
use futures::future::BoxFuture;
use prometheus::Registry;

use crate::support::{Authority, Proxy, counted, free_port, local, peers, port_is_free, until};

const REFUSED: &str = "holdfast_cluster_peers_refused_total";
const TTL: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(60);

/// Sends back what it gets; a vote is never answered in time.
struct Echo;

impl Handler for Echo {
    fn answer(&self, _from: u64, kind: Kind, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(async move {
            if kind == Kind::Vote {
                tokio::time::sleep(SOON * 2).await;
            }
            (kind != Kind::PreVote).then_some(body)
        })
    }

    fn serve(
        &self,
        _from: u64,
        _kind: Kind,
        first: Bytes,
        mut frames: FrameReceiver,
        mut answers: FrameSender,
    ) -> BoxFuture<'static, Result<(), LinkError>> {
        Box::pin(async move {
            answers.send(&first).await?;
            while let Some((_, body)) = frames.next().await? {
                answers.send(&body).await?;
            }
            answers.finish();
            Ok(())
        })
    }
}

struct Node {
    cut: Cut,
    config: Config,
    endpoint: Endpoint,
    registry: Registry,
}

impl Node {
    fn link(&self, to: u64) -> Link {
        self.endpoint.links().get(to).unwrap()
    }

    async fn hello(&self, to: u64) -> Result<Bytes, LinkError> {
        self.link(to).call(Kind::Hello, b"hello", SOON).await
    }

    /// For calls that must fail.
    async fn brief_hello(&self, to: u64) -> Result<Bytes, LinkError> {
        self.link(to).call(Kind::Hello, b"hello", TTL).await
    }
}

/// A node of two; `reach` is the port under which it reaches the other.
fn node(authority: &Authority, id: u64, own: u16, reach: u16) -> Node {
    node_as(authority.identity(id), id, own, reach, |_| {})
}

fn node_as(
    identity: cluster::Identity,
    id: u64,
    own: u16,
    reach: u16,
    adapt: impl Fn(&mut Config),
) -> Node {
    let ports = if id == 1 { [own, reach] } else { [reach, own] };
    let mut config = Config::for_test(id, peers(&ports));
    config.listen = local(own);
    adapt(&mut config);
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let cut = Cut::default();
    let endpoint = Endpoint::open(&config, &identity, &udp_endpoint(&cut), &metrics).unwrap();
    endpoint.serve(Arc::new(Echo));
    Node { cut, config, endpoint, registry }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_their_authority_are_changed_while_links_stand() {
    let (old, new) = (Authority::new(), Authority::new());
    let (one, two) = (free_port(), free_port());
    let (first, second) = (node(&old, 1, one, two), node(&old, 2, two, one));
    until("warm links", SOON, || first.link(2).is_up() && second.link(1).is_up()).await;
    let renew = async |node: &Node, identity| node.endpoint.renew(&node.config, &identity).await;

    // The second does not know the new authority yet, so it is no time for its certificates.
    let refused = renew(&first, new.identity_trusting_all(1, &[&old, &new])).await;
    assert!(refused.unwrap_err().to_string().contains("identity"), "told");
    assert_eq!(first.hello(2).await.unwrap(), "hello", "the old one is still shown");
    let deaf = renew(&first, old.identity_trusting(1, &new)).await;
    assert!(deaf.is_err(), "it would not trust the second");

    let other = renew(&first, old.identity(3)).await;
    assert!(other.unwrap_err().to_string().contains("does not name this node"));

    // Trust first, then certificates, then no more trust for the old one.
    for (node, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(renew(node, old.identity_trusting_all(id, &[&old, &new])).await.unwrap(), 1);
    }
    for (node, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(renew(node, new.identity_trusting_all(id, &[&old, &new])).await.unwrap(), 1);
    }
    for (node, id) in [(&first, 1), (&second, 2)] {
        assert_eq!(renew(node, new.identity(id)).await.unwrap(), 1);
    }
    assert_eq!(first.hello(2).await.unwrap(), "hello");
    assert_eq!(second.hello(1).await.unwrap(), "hello");

    // Whoever is of the old authority does not come in any more.
    second.endpoint.stop(TTL).await;
    drop(second);
    port_is_free(local(two)).await;
    let late = node(&old, 2, two, one);
    assert!(late.brief_hello(1).await.is_err());
    assert!(first.brief_hello(2).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_waits_for_a_peer_that_is_dead_at_the_dial() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    assert_eq!(first.brief_hello(2).await, Err(LinkError::NotConnected));
    let second = node(&authority, 2, two, one);
    // The late-comer's own dial wakes ours, which would else wait for a slow resend.
    until("a warm link", SOON, || first.link(2).is_up()).await;
    assert_eq!(first.hello(2).await.unwrap(), "hello");
    second.endpoint.stop(TTL).await;
    until("the loss is seen", SOON, || !first.link(2).is_up()).await;
    drop(second);
    port_is_free(local(two)).await;
    let second = node(&authority, 2, two, one);
    until("the link again", SOON, || first.link(2).is_up()).await;
    assert_eq!(first.hello(2).await.unwrap(), "hello");
    assert_eq!(second.hello(1).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_is_noticed_within_the_idle_time_and_heals() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let proxy = Proxy::to(local(two)).await;
    let first = node(&authority, 1, one, proxy.port);
    let _second = node(&authority, 2, two, one);
    until("a warm link", SOON, || first.link(2).is_up()).await;
    proxy.swallow(true);
    let started = Instant::now();
    assert!(first.brief_hello(2).await.is_err());
    until("the loss is seen", SOON, || !first.link(2).is_up()).await;
    println!("a black hole was noticed after {:?}", started.elapsed());
    proxy.swallow(false);
    until("the link again", SOON, || first.link(2).is_up()).await;
    assert_eq!(first.hello(2).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_cable_is_noticed_by_both_and_a_mended_one_heals() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    let second = node(&authority, 2, two, one);
    until("a warm link", SOON, || first.link(2).is_up() && second.link(1).is_up()).await;
    first.cut.pull(Duration::from_secs(120));
    assert!(first.brief_hello(2).await.is_err(), "nothing leaves it");
    assert!(second.brief_hello(1).await.is_err(), "nothing comes in");
    until("both see it", SOON, || !first.link(2).is_up() && !second.link(1).is_up()).await;
    first.cut.mend();
    until("the links again", SOON, || first.link(2).is_up() && second.link(1).is_up()).await;
    assert_eq!(first.hello(2).await.unwrap(), "hello");
    assert_eq!(second.hello(1).await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_ends_at_a_frame_border_ends_with_none() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    let _second = node(&authority, 2, two, one);
    let (mut sender, mut receiver) = first.link(2).open(Kind::Append, SOON).await.unwrap();
    for number in 0..100_u32 {
        sender.send(&number.to_be_bytes()).await.unwrap();
    }
    sender.finish();
    for number in 0..100_u32 {
        let (kind, body) = receiver.next_within(SOON).await.unwrap().unwrap();
        assert_eq!((kind, body.as_ref()), (Kind::Append, number.to_be_bytes().as_ref()));
    }
    assert_eq!(receiver.next_within(SOON).await, Ok(None));
    // A reset, in contrast, is an error on the other side and brings no frames back.
    let (mut sender, mut receiver) = first.link(2).open(Kind::Append, SOON).await.unwrap();
    sender.send(b"one").await.unwrap();
    assert!(receiver.next_within(SOON).await.unwrap().is_some());
    sender.reset();
    assert!(!matches!(receiver.next_within(SOON).await, Ok(Some(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_keeps_its_time_to_live_and_large_bodies_are_refused() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    let _second = node(&authority, 2, two, one);
    until("a warm link", SOON, || first.link(2).is_up()).await;
    let started = Instant::now();
    let slow = first.link(2).call(Kind::Vote, b"x", Duration::from_millis(75)).await;
    assert_eq!(slow, Err(LinkError::Timeout));
    // The answer would have come after two minutes.
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert_eq!(first.link(2).call(Kind::PreVote, b"x", SOON).await, Err(LinkError::NoAnswer));
    let huge = vec![0; cluster::transport::MAX_BODY + 1];
    let refused = first.link(2).call(Kind::Hello, &huge, SOON).await;
    assert!(matches!(refused, Err(LinkError::Malformed(_))), "{refused:?}");
    let large = vec![7; cluster::transport::MAX_BODY];
    assert_eq!(first.link(2).call(Kind::Hello, &large, SOON).await.unwrap(), large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let (one, two) = (free_port(), free_port());
    let first = node(&ours, 1, one, two);
    // The stranger trusts our authority, so that its own dial comes as far as our check.
    let stranger = node_as(foreign.identity_trusting(2, &ours), 2, two, one, |_| {});
    let refused = || counted(&first.registry, REFUSED, "foreign_authority");
    until("refused at dial and at accept", SOON, || refused() >= 2.0).await;
    assert!(first.brief_hello(2).await.is_err());
    assert!(!first.link(2).is_up());
    let served = stranger.link(1).call(Kind::Hello, b"hello", TTL).await;
    assert!(served.is_err(), "{served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_names_another_node_is_refused() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    // Signed by our authority, but for node 9, which the first does not know.
    let wrong = node_as(authority.identity(9), 2, two, one, |_| {});
    until("the name is refused at dial", SOON, || {
        counted(&first.registry, REFUSED, "wrong_node") >= 1.0
    })
    .await;
    // Node 9 may come to join, so it may say who it is; what only members may ask is refused.
    until("its own dial stands", SOON, || wrong.link(1).is_up()).await;
    assert_eq!(wrong.link(1).call(Kind::Hello, b"hello", SOON).await.unwrap(), "hello");
    let asked = wrong.link(1).call(Kind::Propose, b"hello", TTL).await;
    assert_eq!(asked, Err(LinkError::NoAnswer));
    assert!(counted(&first.registry, REFUSED, "no_member") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_told_so_and_not_heard() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    let second = node(&authority, 2, two, one);
    until("a warm link", SOON, || second.link(1).is_up()).await;
    first.endpoint.links().set_removed([2].into());
    assert!(second.link(1).call(Kind::Vote, b"vote", TTL).await.is_err());
    let told = || second.link(1).trouble() == Some(Trouble::Removed);
    until("it is told", SOON, told).await;
    assert!(counted(&first.registry, REFUSED, "removed_node") >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_another_group_closes_the_link_and_is_counted() {
    let authority = Authority::new();
    let (one, two) = (free_port(), free_port());
    let first = node(&authority, 1, one, two);
    let second = node_as(authority.identity(2), 2, two, one, |config| config.group = 7);
    until("a warm link", SOON, || second.link(1).is_up()).await;
    assert!(second.brief_hello(1).await.is_err());
    let counter = "holdfast_cluster_bad_frames_total";
    until("counted", SOON, || counted(&first.registry, counter, "group") >= 1.0).await;
}
