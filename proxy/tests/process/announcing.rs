//! Clients that are announced to the destination.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use transport::ProxyHeader;

use crate::backend::{Place, accept};
use crate::running_proxy::{PATIENCE, RunningProxy, route_to};

/// Reads exactly `message`.
async fn assert_comes(stream: &mut UnixStream, message: &[u8]) {
    let mut read = vec![0; message.len()];
    timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("bytes come").unwrap();
    assert_eq!(read.escape_ascii().to_string(), message.escape_ascii().to_string());
}

#[tokio::test]
async fn the_header_comes_before_the_clients_bytes() {
    for listen in ["127.0.0.1", "[::1]"] {
        let place = Place::new();
        let listener = place.listen();
        let route = format!("tcp:{listen}:0=unix:{}", place.socket().display());
        let proxy = RunningProxy::start(&["--route", &route, "--proxy-protocol"]);
        let destination: SocketAddr = format!("{listen}:{}", proxy.port(0)).parse().unwrap();
        for _ in 0..2 {
            let mut client = TcpStream::connect(destination).await.unwrap();
            // A client's own header is passed on behind the proxy's, as any bytes.
            let own = ProxyHeader { source: "192.0.2.1:1".parse().unwrap(), destination }.to_bytes();
            client.write_all(&own).await.unwrap();
            let header = ProxyHeader { source: client.local_addr().unwrap(), destination }.to_bytes();
            let mut enclave = accept(&listener).await;
            assert_comes(&mut enclave, &[header, own].concat()).await;
            enclave.write_all(b"answer").await.unwrap();
            let mut answer = [0; 6];
            timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("an answer comes").unwrap();
        }
    }
}

#[tokio::test]
async fn what_came_while_the_proxy_dialed_comes_behind_the_header() {
    let place = Place::new();
    let options = ["--proxy-protocol", "--dial-timeout-ms=60000", "--log-level=debug"];
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&[&["--route", &route], &options[..]].concat());
    let mut client = proxy.connect().await;
    client.write_all(b"early").await.unwrap();
    // The first attempts find nobody.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let listener = place.listen();
    let mut enclave = accept(&listener).await;
    let (source, destination) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let header = ProxyHeader { source, destination }.to_bytes();
    assert_comes(&mut enclave, &[header, b"early".to_vec()].concat()).await;
}

/// As the enclave's ways out are: it dials by vsock, and what it reaches expects no header.
#[tokio::test]
async fn a_client_without_an_address_is_not_announced() {
    let place = Place::new();
    let listener = place.listen();
    let inner = place.directory().join("inner.sock");
    let (clients, services) =
        (route_to(&place.socket()), format!("unix:{}=unix:{}", inner.display(), place.socket().display()));
    let _proxy = RunningProxy::start(&["--route", &clients, "--route", &services, "--proxy-protocol"]);
    let mut client = UnixStream::connect(&inner).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    assert_comes(&mut accept(&listener).await, b"hello").await;
}
