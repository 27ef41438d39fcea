//! More clients than permits, and fewer descriptors than clients.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::{Place, accept, assert_echoes, read_to_close};
use crate::running_proxy::{PATIENCE, RunningProxy, eventually, route_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_clients_share_the_permits() {
    const CLIENTS: usize = 2000;
    const PERMITS: usize = 1024;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();

    let place = Place::new();
    let listener = place.listen();
    // The enclave of this test is as busy as the machine.
    let options = ["--max-connections", &PERMITS.to_string(), "--dial-timeout-ms", "60000"];
    let one_source = ["--max-connections-per-source", "off"];
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&[&["--route", route.as_str()], &options[..], &one_source[..]].concat());

    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (open_gate, gate) = watch::channel(false);
    let enclave = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        tokio::spawn(async move {
            loop {
                let mut stream = accept(&listener).await;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let (now, mut gate) = (Arc::clone(&now), gate.clone());
                tokio::spawn(async move {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await.unwrap();
                    gate.wait_for(|&open| open).await.unwrap();
                    // Before the answer: a client that has it may free its permit at once.
                    now.fetch_sub(1, Ordering::SeqCst);
                    stream.write_all(&byte).await.unwrap();
                    assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
                });
            }
        })
    };
    let clients = Arc::new(Semaphore::new(0));
    let mut served = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = proxy.connect().await;
        let connected = Arc::clone(&clients);
        served.spawn(async move {
            let byte = [u8::try_from(number % 251).unwrap()];
            client.write_all(&byte).await.unwrap();
            connected.add_permits(1);
            let mut answer = [0];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, byte);
        });
    }
    let all_connected = clients.acquire_many(2000);
    let _all = timeout(PATIENCE, all_connected).await.unwrap().unwrap();
    eventually("every permit is in use", || now.load(Ordering::SeqCst) == PERMITS).await;
    open_gate.send_replace(true);
    let all_served = async { while served.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, all_served).await.expect("all are served");
    assert_eq!(most.load(Ordering::SeqCst), PERMITS);
    enclave.abort();
}

#[tokio::test]
async fn a_permit_comes_free_with_its_connection() {
    let place = Place::new();
    let _echo = place.echo();
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&["--route", &route, "--max-connections", "1"]);
    let mut first = proxy.connect().await;
    assert_echoes(&mut first, b"first").await;
    let mut second = proxy.connect().await;
    second.write_all(b"second").await.unwrap();
    assert_echoes(&mut first, b"still alone").await;
    drop(first);
    let mut answer = [0; 6];
    let waited = timeout(PATIENCE, second.read_exact(&mut answer)).await;
    waited.expect("the permit comes free").unwrap();
    assert_eq!(&answer, b"second");
}

/// A client whose address is 127.0.0.`last`. One that is closed at once may learn of it while it connects.
async fn connect_from(last: u8, proxy: &RunningProxy) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, last], 0).into())?;
    socket.connect(([127, 0, 0, 1], proxy.port(0)).into()).await
}

#[tokio::test]
async fn a_source_with_all_its_connections_takes_none_of_another() {
    let place = Place::new();
    let _echo = place.echo();
    let route = route_to(&place.socket());
    let options = ["--max-connections=8", "--max-connections-per-source=3"];
    let proxy = RunningProxy::start(&["--route", &route, options[0], options[1]]);
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut client = connect_from(1, &proxy).await.unwrap();
        assert_echoes(&mut client, b"greedy").await;
        greedy.push(client);
    }
    for _ in 0..20 {
        if let Ok(mut client) = connect_from(1, &proxy).await {
            assert_eq!(read_to_close(&mut client).await, b"");
        }
    }
    let mut modest = connect_from(2, &proxy).await.unwrap();
    assert_echoes(&mut modest, b"modest").await;
    assert_echoes(&mut greedy[0], b"what was there stays").await;
    let refused = "--max-connections-per-source already";
    eventually("the refusal is logged", || proxy.log().contains(refused)).await;
    let log = proxy.log();
    assert_eq!(log.matches(refused).count(), 1, "{log}");
    assert!(log.contains("source=127.0.0.1\n"), "{log}");

    // A place comes free with its connection, which the proxy notices a little later.
    drop(greedy.pop());
    let serves = async || {
        let mut client = connect_from(1, &proxy).await.ok()?;
        client.write_all(b"again").await.ok()?;
        client.read_exact(&mut [0; 5]).await.ok()
    };
    let served = async { while serves().await.is_none() {} };
    timeout(PATIENCE, served).await.expect("a place comes free");
}

#[tokio::test]
async fn a_source_has_every_connection_where_its_limit_is_off() {
    let place = Place::new();
    let _echo = place.echo();
    let route = route_to(&place.socket());
    let options = ["--max-connections=8", "--max-connections-per-source=off"];
    let proxy = RunningProxy::start(&["--route", &route, options[0], options[1]]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = proxy.connect().await;
        assert_echoes(&mut client, b"hello").await;
        clients.push(client);
    }
}

#[tokio::test]
async fn a_lack_of_descriptors_passes() {
    let place = Place::new();
    let _echo = place.echo();
    // Enough to start and for a few connections, and less than the permits need.
    let limited = format!("ulimit -n 24; exec {} \"$@\"", env!("CARGO_BIN_EXE_proxy"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited, "sh"]);
    let proxy = RunningProxy::start_as(shell, &["--route", &route_to(&place.socket())]);
    eventually("the limit is complained about", || proxy.log().contains("limit on open files is too low"))
        .await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(proxy.connect().await);
    }
    eventually("it cannot accept", || proxy.log().contains("cannot accept")).await;
    drop(clients);
    assert_echoes(&mut proxy.connect().await, b"still here").await;
}

#[tokio::test]
async fn the_soft_limit_on_descriptors_is_raised() {
    let limited = format!("ulimit -S -n 24; exec {} \"$@\"", env!("CARGO_BIN_EXE_proxy"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited, "sh"]);
    let proxy = RunningProxy::start_as(shell, &["--route", "tcp:127.0.0.1:0=unix:/nowhere"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let columns: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(columns[3], columns[4]);
    assert_ne!(columns[3], "24");
}
