use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;

use super::{
    server::{LIMITS, Limits},
    *,
};
use crate::{
    logging::LogStats,
    message::RouteId,
    metrics::{Entry, Gauge, Layout, Metrics, SessionLabel, SessionState, SpoolStatus, TopicState},
};

/// Longest wait for a fact.
const DEADLINE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "a test has a clock of its own")]
fn real() -> Instant {
    Instant::now()
}

/// A clock that stands still.
fn standing() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(real)
}

fn layout() -> Layout {
    let session = SessionLabel { source: "harbour".to_owned(), client_id: "c-0".to_owned(), shard: 0 };
    Layout { shards: 1, routes: vec!["a/#".to_owned()], sessions: vec![session] }
}

/// An endpoint on a thread of its own, stopped when dropped.
struct Server {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        Server::with(bind(free()).unwrap(), LIMITS, layout(), standing)
    }

    fn with(listener: TcpListener, limits: Limits, layout: Layout, clock: fn() -> Instant) -> Server {
        let address = listener.local_addr().unwrap();
        let state = State::new(Metrics::new(layout), Arc::<LogStats>::default(), clock);
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                server::run(listener, served, limits, shutdown).await;
            });
        });
        Server { address, state, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The whole answer to `request`, up to the end of the connection.
    fn answer(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The answer may come, and the connection go, before all of a bad request is written.
        let _ = stream.write_all(request);
        read(&mut stream)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.answer(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn report(&self) -> Value {
        let (status, body) = self.get("/status");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    fn open(&self) -> u64 {
        self.state.connections.open.load(Ordering::Relaxed)
    }

    fn full(&self) -> u64 {
        self.state.connections.full.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Reads to the end; a reset counts as one.
fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the connection is still open after {DEADLINE:?}");
    }
    String::from_utf8(answer).unwrap()
}

fn wait(what: &str, fact: impl Fn() -> bool) {
    let deadline = real() + DEADLINE;
    while !fact() {
        assert!(real() < deadline, "{what}");
        thread::yield_now();
    }
}

fn all_well(state: &State) {
    state.metrics().status().session(0, |session| session.enter(SessionState::Subscribed, None, standing()));
    state.metrics().status().kafka(0, Ok(()), standing());
}

#[test]
fn a_taken_port_is_named_with_the_setting() {
    let first = bind(free()).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).unwrap_err();
    assert!(matches!(error, AdminError::Taken { .. }));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("`[admin] listen`"), "{text}");
    let foreign = bind(SocketAddr::from(([192, 0, 2, 1], 0))).unwrap_err();
    assert!(matches!(foreign, AdminError::Bind { .. }) && foreign.to_string().contains("192.0.2.1"), "{foreign}");
}

#[test]
fn serve_answers_and_ends_with_the_shutdown() {
    let listener = bind(free()).unwrap();
    let address = listener.local_addr().unwrap();
    let state = State::new(Metrics::new(layout()), Arc::default(), standing);
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(listener, state, async {
            let _ = stopped.await;
        }))
    });
    let mut open = TcpStream::connect(address).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let index = read(&mut stream);
    assert!(index.starts_with("HTTP/1.1 200 ") && index.contains("/metrics"), "{index}");
    drop(stop);
    thread.join().unwrap().unwrap();
    assert_eq!(read(&mut open), "", "what was open is cut");
}

#[test]
fn pages_paths_and_methods() {
    let server = Server::start();
    let metrics = server.answer(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(metrics.starts_with("HTTP/1.1 200 ") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.contains("\nfairlead_admin_connections_limit 64\n"), "{metrics}");
    for path in ["/nothing", "/metrics/", "/../../etc/passwd", "/%2e%2e/status", "//metrics", "*"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECTED"] {
        let answer =
            server.answer(format!("{method} /status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET,HEAD"), "{answer}");
    }
    let head = server.answer(b"HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn readyz_says_why_not_one_reason_a_line() {
    let server = Server::start();
    all_well(&server.state);
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    let status = server.state.metrics().status();
    status.kafka(0, Err("refused\nready"), standing());
    status.topic(0, "ais\nx", TopicState::Hold { reason: "missing".to_owned() });
    let (code, reasons) = server.get("/readyz");
    assert_eq!(code, 503);
    assert_eq!(
        reasons.lines().collect::<Vec<_>>(),
        [r"shard 0: Kafka is not reachable for 0 s: refused\nready", r"topic ais\nx is on hold: missing"]
    );
}

#[test]
fn readyz_and_status_name_what_is_degraded() {
    let server = Server::start();
    all_well(&server.state);
    let status = server.state.metrics().status();
    status.spool(0, SpoolStatus::default());
    status.kafka(0, Err("refused"), standing());
    let reason = "shard 0: Kafka is not reachable for 0 s: refused; messages go to the spool";
    assert_eq!(server.get("/readyz"), (200, format!("degraded\n{reason}\n")));
    server.state.metrics().shard(0).set(Gauge::LaneMode, 1);
    let report = server.report();
    assert_eq!((&report["well"], &report["ready"]), (&false.into(), &true.into()));
    assert_eq!(report["degraded"], serde_json::json!([reason]));
    let shard = &report["shards"][0];
    assert_eq!((&shard["spool"]["lane"], &shard["spool"]["state"]), (&"spilling".into(), &"ok".into()));
    assert_eq!(shard["kafka_since_seconds"], 0);
}

#[test]
fn livez_falls_when_a_heartbeat_stands_still() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    fn moving() -> Instant {
        standing() + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }
    let server = Server::with(bind(free()).unwrap(), LIMITS, layout(), moving);
    assert_eq!(server.get("/livez"), (200, "live\n".to_owned()));
    SECONDS.store(11, Ordering::Relaxed);
    assert_eq!(server.get("/livez"), (503, "shard 0: no turn for 11 s\n".to_owned()));
    server.state.metrics().shard(0).heartbeat();
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn one_look_at_the_status_tells_whether_all_is_well() {
    let server = Server::start();
    let shard = server.state.metrics().shard(0);
    let report = server.report();
    assert_eq!(report["well"], false);
    assert_eq!(report["degraded"].as_array().unwrap().len(), 2, "{report}");
    all_well(&server.state);
    server.state.metrics().status().core(0, 3);
    server.state.metrics().status().topic(0, "ais", TopicState::Available { partitions: 9 });
    shard.set(Gauge::LaneLimit, 100);
    shard.set(Gauge::Lane, 7);
    shard.heartbeat();
    let report = server.report();
    assert_eq!((&report["well"], &report["degraded"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let session = &report["sessions"][0];
    assert_eq!(
        (&session["state"], &session["since_seconds"], &session["client_id"]),
        (&"subscribed".into(), &0.into(), &"c-0".into())
    );
    assert_eq!(
        report["topics"][0],
        serde_json::json!({ "name": "ais", "partitions": 9, "holds": {}, "fragile": false })
    );
    assert_eq!((&report["shards"][0]["core"], &report["shards"][0]["turns"]), (&3.into(), &1.into()));
    let lane = report["limits"].as_array().unwrap().iter().find(|limit| limit["name"] == "lane").unwrap();
    assert_eq!((&lane["used"], &lane["limit"], &lane["full"]), (&7.into(), &100.into(), &0.into()));
    assert!(report["latency"]["confirm"]["p99_micros"].is_u64() && report["rates"]["received_per_second"].is_f64());
    shard.ledger(RouteId(0), Entry::Received, 1);
    let report = server.report();
    assert_eq!((&report["well"], &report["ledger"]["total"]["received"]), (&false.into(), &1.into()));
    assert!(report["degraded"][0].as_str().unwrap().contains("does not balance"), "{report}");
}

#[test]
fn a_turn_that_ends_is_waited_for() {
    let server = Server::start();
    let shard = server.state.metrics().shard(0);
    shard.begin_turn();
    shard.ledger(RouteId(0), Entry::Received, 1);
    assert_eq!(server.report()["ledger"]["approximate"], true, "a shard that hangs in its turn does not hold the page");
    thread::scope(|scope| {
        let report = scope.spawn(|| server.report());
        shard.ledger(RouteId(0), Entry::Suppressed, 1);
        shard.end_turn();
        // The report may have begun before or after the end of the turn; it balances in both cases.
        let report = report.join().unwrap();
        assert_eq!(
            (&report["ledger"]["approximate"], &report["ledger"]["total"]["suppressed"]),
            (&false.into(), &1.into())
        );
    });
}

#[test]
fn bad_heads_are_refused() {
    let server = Server::start();
    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    assert!(server.answer(head(4096).as_bytes()).starts_with("HTTP/1.1 200 "));
    assert!(server.answer(head(9000).as_bytes()).starts_with("HTTP/1.1 431 "));
    assert!(server.answer(head(1 << 24).as_bytes()).starts_with("HTTP/1.1 431 "), "the rest is never read");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(200));
    assert!(server.answer(many.as_bytes()).starts_with("HTTP/1.1 431 "));
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answer = server.answer(garbage);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer:?}");
    }
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn one_request_a_connection_also_when_they_are_pipelined() {
    let server = Server::start();
    let answer = server.answer("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[test]
fn a_head_that_does_not_come_is_given_up() {
    let limits = Limits { read_within: Duration::from_millis(50), ..LIMITS };
    let server = Server::with(bind(free()).unwrap(), limits, layout(), standing);
    for start in [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = server.connect();
        stream.write_all(start).unwrap();
        let answer = read(&mut stream);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    // Small buffers, so that a scrape does not fit into them.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(&free().into()).unwrap();
    socket.listen(16).unwrap();
    socket.set_nonblocking(true).unwrap();
    let limits = Limits { connections: 1, done_within: Duration::from_millis(100), ..LIMITS };
    let large = Layout { shards: 64, ..layout() };
    let server = Server::with(socket.into(), limits, large, standing);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let whole = runtime.block_on(server.state.scrape()).len();
    assert!(whole > 1 << 19, "{whole}");

    let slow = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    slow.set_recv_buffer_size(4096).unwrap();
    slow.connect(&server.address.into()).unwrap();
    let mut slow = TcpStream::from(slow);
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    wait("the connection was not accepted", || server.full() == 1);
    wait("the connection was not given up", || server.open() == 0);
    assert!(read(&mut slow).len() < whole);
}

#[test]
fn connections_are_limited_and_the_next_one_waits() {
    let limits = Limits { connections: 3, ..LIMITS };
    let server = Server::with(bind(free()).unwrap(), limits, layout(), standing);
    let mut idle: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    wait("the limit was not reached", || server.full() == 1);
    let mut next = server.connect();
    next.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!((server.full(), server.open()), (1, 3), "the fourth was accepted");
    idle.pop().unwrap().shutdown(Shutdown::Both).unwrap();
    assert!(read(&mut next).starts_with("HTTP/1.1 200 "));
    assert_eq!(server.full(), 2, "it took the place that became free");
}

/// E1: hundreds of connections that send nothing take no more than their places, and not for long.
#[test]
fn slow_connections_do_not_shut_out_a_scrape() {
    let limits = Limits { read_within: Duration::from_millis(100), ..LIMITS };
    let server = Server::with(bind(free()).unwrap(), limits, layout(), standing);
    let slow: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    wait("the limit was not reached", || server.full() > 0);
    assert_eq!(server.get("/livez").0, 200);
    drop(slow);
}

#[test]
fn samples_give_rates_and_remember_an_imbalance() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    fn moving() -> Instant {
        standing() + Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }
    let state = State::new(Metrics::new(layout()), Arc::default(), moving);
    let shard = state.metrics().shard(0);
    for second in 0..4 {
        SECONDS.store(second, Ordering::Relaxed);
        state.sample();
        shard.ledger(RouteId(0), Entry::Received, 100);
        shard.ledger(RouteId(0), Entry::Delivered, 100);
    }
    assert!((state.per_second().received_per_second - 100.0).abs() < 1e-9);
    assert_eq!(state.unbalanced(), None);
    shard.ledger(RouteId(0), Entry::Received, 1);
    state.sample();
    assert!(state.unbalanced().is_some());
}
