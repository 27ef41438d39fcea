//! The kernel memory that clients can make the proxy's sockets take.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::{Place, accept, assert_echoes};
use crate::running_proxy::{RunningProxy, route_to};

const CLIENTS: usize = 60;

/// Two buffers of a tcp socket of `transport`, each of the size that `getsockopt` shows, and the segment of the
/// loopback device with which the sending one may be exceeded.
const MAX_QUEUED_BYTES: u64 = 3 * 65_536;

/// Answers of this many times the length of their requests.
const ANSWERS: usize = 8;

async fn answer_at_length(mut stream: UnixStream) {
    let mut requests = [0; 4096];
    let answer = vec![b'a'; requests.len() * ANSWERS];
    while let Ok(count @ 1..) = stream.read(&mut requests).await {
        if stream.write_all(&answer[..count * ANSWERS]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ask_and_never_read_fill_no_more_than_their_buffers() {
    let place = Place::new();
    let listener = place.listen();
    let other = Place::new();
    let _echo = other.echo();
    let routes = [route_to(&place.socket()), route_to(&other.socket())];
    let proxy = RunningProxy::start(&["--route", &routes[0], "--route", &routes[1]]);
    let enclave = tokio::spawn(async move {
        loop {
            tokio::spawn(answer_at_length(accept(&listener).await));
        }
    });

    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = proxy.connect().await;
        clients.spawn(async move {
            let requests = [b'r'; 1300];
            while let Ok(written) = timeout(Duration::from_secs(1), client.write(&requests)).await {
                written.unwrap();
            }
            client
        });
    }
    let clients = clients.join_all().await;
    let queued = queued_bytes(proxy.port(0));
    assert_eq!(queued.len(), CLIENTS);
    assert!(queued.values().all(|bytes| *bytes > 0), "nothing is pinned: {queued:?}");
    assert!(queued.values().all(|bytes| *bytes <= MAX_QUEUED_BYTES), "{queued:?}");
    assert_echoes(&mut proxy.connect_to(1).await, b"served").await;
    drop(clients);
    enclave.abort();
}

/// The bytes in both queues of each connection that was accepted on this port, by the client's address.
///
/// `/proc/net/tcp` is read in pieces. While other programs open and close connections, it can repeat a row.
fn queued_bytes(port: u16) -> BTreeMap<String, u64> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1].ends_with(&format!(":{port:04X}")) && row[3] == ESTABLISHED);
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    ours.map(|row| (row[2].to_owned(), row[4].split(':').map(number).sum())).collect()
}
