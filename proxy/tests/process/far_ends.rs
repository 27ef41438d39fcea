//! The destinations that are not sockets, and the listeners that are not tcp.

use std::fs::{read_to_string, write};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::backend::{Place, read_to_close};
use crate::running_proxy::{PATIENCE, RunningProxy, eventually};

#[tokio::test]
async fn a_file_is_sent_as_it_is_now() {
    let place = Place::new();
    let file = place.directory().join("env");
    let route = format!("tcp:127.0.0.1:0=file:{}", file.display());
    let proxy = RunningProxy::start(&["--route", &route]);
    assert_eq!(read_to_close(&mut proxy.connect().await).await, b"");

    let long = "x".repeat(200_000);
    for content in ["A=1\n", "", &long, "B=2\n"] {
        write(&file, content).unwrap();
        let mut client = proxy.connect().await;
        assert_eq!(read_to_close(&mut client).await, content.as_bytes());
        // A client that talks, and one that closes its half first, get it as well.
        let mut client = proxy.connect().await;
        client.write_all(b"please").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_close(&mut client).await, content.as_bytes());
    }
    assert_eq!(read_to_string(&file).unwrap(), "B=2\n");
}

#[tokio::test]
async fn lines_go_to_stdout_whole() {
    let place = Place::new();
    let listen = place.directory().join("v.sock");
    let route = format!("hybrid:{}:8003=stdout:", listen.display());
    let proxy = RunningProxy::start(&["--route", &route, "--idle-timeout-s", "1"]);
    assert_eq!(
        proxy.announced[0],
        format!("proxy: listening on hybrid:{}:8003, dialing stdout:", listen.display())
    );
    let socket = place.directory().join("v.sock_8003");
    let mut first = UnixStream::connect(&socket).await.unwrap();
    let mut second = UnixStream::connect(&socket).await.unwrap();
    first.write_all(b"one, begun ").await.unwrap();
    second.write_all(b"two\nthree").await.unwrap();
    assert_eq!(proxy.stdout.recv_timeout(PATIENCE).unwrap(), "two");
    first.write_all(b"and ended\n\x1b[31mred\n").await.unwrap();
    let lines: Vec<_> = (0..2).map(|_| proxy.stdout.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(lines, ["one, begun and ended", "\u{fffd}[31mred"]);
    second.shutdown().await.unwrap();
    assert_eq!(proxy.stdout.recv_timeout(PATIENCE).unwrap(), "three");
    let end = timeout(PATIENCE, second.read(&mut [0])).await;
    assert_eq!(end.expect("it is closed").unwrap(), 0);
}

#[tokio::test]
async fn listeners_of_every_kind_lead_to_one_place() {
    let place = Place::new();
    let _echo = place.echo();
    let directory = place.directory().display();
    let to = format!("unix:{}", place.socket().display());
    let proxy = RunningProxy::start(&[
        "--route",
        &format!("unix:{directory}/front.sock={to}"),
        "--route",
        &format!("hybrid:{directory}/v.sock:7={to}"),
    ]);
    assert_eq!(
        proxy.announced,
        [
            format!("proxy: listening on unix:{directory}/front.sock, dialing {to}"),
            format!("proxy: listening on hybrid:{directory}/v.sock:7, dialing {to}"),
        ]
    );
    for name in ["front.sock", "v.sock_7"] {
        let socket = place.directory().join(name);
        let mut client = UnixStream::connect(socket).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello");
    }
}

#[tokio::test]
async fn a_file_is_replaced_by_what_is_whole() {
    let place = Place::new();
    let file = place.directory().join("state");
    let directory = place.directory().display();
    let proxy = RunningProxy::start(&[
        "--route",
        &format!("unix:{directory}/write.sock=replace:{}", file.display()),
        "--route",
        &format!("tcp:127.0.0.1:0=file:{}", file.display()),
    ]);
    assert_eq!(
        proxy.announced[0],
        format!("proxy: listening on unix:{directory}/write.sock, dialing replace:{}", file.display())
    );
    let socket = place.directory().join("write.sock");
    for content in [&b"first"[..], &[0; 60_000], b""] {
        let mut client = UnixStream::connect(&socket).await.unwrap();
        client.write_all(&u32::try_from(content.len()).unwrap().to_be_bytes()).await.unwrap();
        client.write_all(content).await.unwrap();
        // It is told without having to close its half, and then it is done.
        assert_eq!(read_to_close(&mut client).await, [6]);
        assert_eq!(read_to_close(&mut proxy.connect_to(1).await).await, content);
    }
    write(&file, "kept").unwrap();
    for cut in [&[][..], &[0, 0, 0], &[0, 0, 0, 9, b'c', b'u', b't'], &[0xff; 4]] {
        let mut client = UnixStream::connect(&socket).await.unwrap();
        client.write_all(cut).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_close(&mut client).await, b"");
        assert_eq!(read_to_string(&file).unwrap(), "kept");
    }
    eventually("each is logged", || proxy.log().matches("not replaced").count() == 4).await;

    // Of as many as are taken at one time, each is put in place whole.
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = UnixStream::connect(&socket).await.unwrap();
        clients.push(tokio::spawn(async move {
            client.write_all(&[0, 0, 0x40, 0]).await.unwrap();
            client.write_all(&[number; 0x4000]).await.unwrap();
            assert_eq!(read_to_close(&mut client).await, [6]);
        }));
    }
    for client in clients {
        client.await.unwrap();
        let content = std::fs::read(&file).unwrap();
        assert_eq!(content.len(), 0x4000);
        assert!(content.iter().all(|byte| *byte == content[0]));
    }
}
