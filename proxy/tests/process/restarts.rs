//! The enclave dies and comes back; the proxy gets a signal to stop.

use std::time::Instant;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{Place, accept, assert_echoes, read_to_close};
use crate::running_proxy::{ABOUT_A_SECOND, RunningProxy, eventually, route_to};

#[tokio::test]
async fn a_dead_enclave_closes_its_clients_and_a_new_one_serves_them() {
    let place = Place::new();
    let proxy = RunningProxy::start(&["--route", &route_to(&place.socket())]);
    for _ in 0..3 {
        let listener = place.listen();
        let mut silent = proxy.connect().await;
        let for_silent = accept(&listener).await;
        let mut half = proxy.connect().await;
        half.write_all(b"POST / HTTP/1.1\r\nhost: ").await.unwrap();
        let mut for_half = accept(&listener).await;
        for_half.read_exact(&mut [0; 10]).await.unwrap();

        // The kernel does this for a killed process.
        drop((listener, for_silent, for_half));
        for client in [&mut silent, &mut half, &mut proxy.connect().await] {
            let start = Instant::now();
            assert_eq!(read_to_close(client).await, b"");
            let waited = start.elapsed();
            assert!(waited < ABOUT_A_SECOND, "waited {waited:?}");
        }

        let echo = place.echo();
        assert_echoes(&mut proxy.connect().await, b"hello again").await;
        echo.abort();
        let _ = echo.await;
    }
    for event in ["destination not reached;", "destination reached again"] {
        eventually("three events of each kind are logged", || proxy.log().matches(event).count() == 3).await;
    }
}

#[tokio::test]
async fn connections_finish_after_a_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let _echo = place.echo();
        let listen = place.directory().join("front.sock");
        let route = format!("unix:{}=unix:{}", listen.display(), place.socket().display());
        let proxy = RunningProxy::start(&[
            "--route",
            &route_to(&place.socket()),
            "--route",
            &route,
            "--drain-timeout-s",
            "60",
        ]);
        let port = proxy.port(0);
        let mut client = proxy.connect().await;
        assert_echoes(&mut client, b"before").await;
        assert!(listen.exists());

        proxy.signal(signal);
        eventually("the listeners are gone", || {
            !listen.exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
        })
        .await;
        assert_echoes(&mut client, b"after").await;
        drop(client);
        let (status, log) = proxy.wait().await;
        assert_eq!(status.code(), Some(0));
        assert!(log.contains("drained"), "{log}");
    }
}

#[tokio::test]
async fn draining_ends() {
    let place = Place::new();
    let _echo = place.echo();
    let route = route_to(&place.socket());

    let proxy = RunningProxy::start(&["--route", &route, "--drain-timeout-s", "1"]);
    let mut client = proxy.connect().await;
    assert_echoes(&mut client, b"hello").await;
    proxy.signal(Signal::SIGTERM);
    assert_eq!(read_to_close(&mut client).await, b"");
    assert_eq!(proxy.wait().await.0.code(), Some(0));

    let proxy = RunningProxy::start(&["--route", &route, "--drain-timeout-s", "600"]);
    let mut client = proxy.connect().await;
    assert_echoes(&mut client, b"hello").await;
    proxy.signal(Signal::SIGTERM);
    eventually("it drains", || proxy.log().contains("draining")).await;
    let start = Instant::now();
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().await.0.code(), Some(130));
    assert!(start.elapsed() < ABOUT_A_SECOND);
}
