//! The admin port.

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::backend::{Place, assert_echoes, read_to_close};
use crate::running_proxy::{RunningProxy, eventually, route_to};

/// Sends bytes to the admin port and returns everything that comes back.
async fn ask(proxy: &RunningProxy, request: &[u8]) -> String {
    let mut stream: TcpStream = proxy.connect_to(proxy.announced.len() - 1).await;
    // An answer may come, and the connection be closed, before everything is sent.
    let _ = stream.write_all(request).await;
    String::from_utf8(read_to_close(&mut stream).await).expect("answers are text")
}

async fn get(proxy: &RunningProxy, path: &str) -> String {
    ask(proxy, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn connections_bytes_and_failures_are_counted() {
    let place = Place::new();
    let _echo = place.echo();
    let options =
        ["--idle-timeout-s", "1", "--max-connections-per-source", "1", "--admin", "tcp:127.0.0.1:0"];
    let proxy = RunningProxy::start_with_a_dead_route(&place.socket(), &options);
    let routes = [proxy.port(0), proxy.port(1)].map(|port| format!("route=\"tcp:127.0.0.1:{port}\""));
    let before = get(&proxy, "/metrics").await;
    assert!(before.contains(&format!("proxy_connections_accepted_total{{{}}} 0", routes[0])), "{before}");

    let mut client = proxy.connect().await;
    assert_echoes(&mut client, b"hello").await;
    let during = get(&proxy, "/metrics").await;
    assert!(during.contains(&format!("proxy_connections_active{{{}}} 1", routes[0])), "{during}");
    // Its source has a connection. It may learn while it connects that it is closed.
    if let Ok(mut other) = TcpStream::connect(("127.0.0.1", proxy.port(0))).await {
        assert_eq!(read_to_close(&mut other).await, b"");
    }
    assert_eq!(read_to_close(&mut client).await, b"");
    assert_eq!(read_to_close(&mut proxy.connect_to(1).await).await, b"");

    let after = get(&proxy, "/metrics").await;
    assert!(after.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(after.contains("content-type: application/openmetrics-text"));
    assert!(after.ends_with("# EOF\n"));
    for (metric, labels, value) in [
        ("connections_accepted_total", routes[0].clone(), 2),
        ("connections_active", routes[0].clone(), 0),
        ("bytes_total", format!("{},direction=\"to_destination\"", routes[0]), 5),
        ("bytes_total", format!("{},direction=\"to_client\"", routes[0]), 5),
        ("dial_failures_total", routes[0].clone(), 0),
        ("dial_failures_total", routes[1].clone(), 1),
        ("deadline_closes_total", format!("{},deadline=\"idle\"", routes[0]), 1),
        ("deadline_closes_total", format!("{},deadline=\"progress\"", routes[0]), 0),
        ("accept_failures_total", routes[0].clone(), 0),
        ("source_refusals_total", routes[0].clone(), 1),
    ] {
        let line = format!("proxy_{metric}{{{labels}}} {value}\n");
        assert!(after.contains(&line), "{line} is not in\n{after}");
    }
}

#[tokio::test]
async fn health_follows_the_draining() {
    let place = Place::new();
    let _echo = place.echo();
    let proxy = RunningProxy::start(&[
        "--route",
        &route_to(&place.socket()),
        "--admin",
        "tcp:127.0.0.1:0",
        "--drain-timeout-s",
        "60",
    ]);
    let answer = get(&proxy, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"ok\":true}"), "{answer}");
    let mut client = proxy.connect().await;
    assert_echoes(&mut client, b"hello").await;
    proxy.signal(Signal::SIGTERM);
    eventually("it drains", || proxy.log().contains("draining")).await;
    let mut answer = get(&proxy, "/health").await;
    // The log line precedes the change by a moment.
    while answer.starts_with("HTTP/1.1 200") {
        answer = get(&proxy, "/health").await;
    }
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"ok\":false}"), "{answer}");
    drop(client);
    assert_eq!(proxy.wait().await.0.code(), Some(0));
}

#[tokio::test]
async fn anything_else_is_refused_and_does_no_harm() {
    let proxy =
        RunningProxy::start(&["--route", "tcp:127.0.0.1:0=unix:/nowhere", "--admin", "tcp:127.0.0.1:0"]);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("GET //health HTTP/1.1\r\nhost: a\r\n\r\n", "404"),
        ("POST /health HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", "405"),
        ("DELETE /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\nx", "404"),
        ("GARBAGE\r\n\r\n", "400"),
        ("GET /health HTTP/9.9\r\n\r\n", "400"),
        ("GET /health HTTP/1.1\r\na b: c\r\n\r\n", "400"),
    ] {
        let answer = ask(&proxy, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET /health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in [long, many] {
        let answer = ask(&proxy, request.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    ask(&proxy, &[0xff; 20_000]).await;

    // Clients that never finish their request take the slots and lose them.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(proxy.connect_to(1).await);
    }
    let answer = get(&proxy, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // One request per connection, however many are sent.
    let answer = ask(&proxy, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}
