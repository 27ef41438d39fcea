//! Destinations that do not exist, or not yet.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::time::sleep;

use crate::backend::{Place, accept, assert_echoes, read_to_close};
use crate::running_proxy::{ABOUT_A_SECOND, RunningProxy, eventually, route_to};

#[tokio::test]
async fn a_missing_destination_closes_the_client_within_a_second() {
    let place = Place::new();
    let stale = place.directory().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let hybrid = format!("tcp:127.0.0.1:0=hybrid:{}:5000", stale.display());
    let proxy = RunningProxy::start(&[
        "--route",
        &route_to(&place.socket()),
        "--route",
        &route_to(&stale),
        "--route",
        &hybrid,
        "--route",
        // No machine has this CID, and the kernel takes two seconds to report it.
        "tcp:127.0.0.1:0=vsock:4294967294:5000",
    ]);
    for line in 0..4 {
        for request in [&b""[..], b"POST / HTTP/1.1\r\n"] {
            let start = Instant::now();
            let mut client = proxy.connect_to(line).await;
            client.write_all(request).await.unwrap();
            assert_eq!(read_to_close(&mut client).await, b"");
            assert!(start.elapsed() < ABOUT_A_SECOND);
        }
    }
    eventually("one warning per route is logged", || {
        proxy.log().matches("destination not reached").count() == 4
    })
    .await;
    assert!(!proxy.log().contains("POST"));
}

#[tokio::test]
async fn a_destination_that_starts_late_serves_the_waiting_client() {
    let place = Place::new();
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&["--route", &route, "--dial-timeout-ms", "20000"]);
    let mut client = proxy.connect().await;
    client.write_all(b"early ").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let _echo = place.echo();
    let mut answer = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut answer).await.unwrap();
    assert_eq!(&answer, b"early ");
    assert_echoes(&mut client, b"late").await;
}

#[tokio::test]
async fn a_client_that_leaves_is_not_dialed_for() {
    let place = Place::new();
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&["--route", &route, "--dial-timeout-ms", "60000"]);
    let before = proxy.descriptors();
    let silent = proxy.connect().await;
    let mut rude = proxy.connect().await;
    rude.write_all(b"half a request").await.unwrap();
    let mut waiting = proxy.connect().await;
    waiting.write_all(b"question").await.unwrap();
    waiting.shutdown().await.unwrap();
    eventually("all are accepted", || proxy.descriptors() == before + 3).await;
    drop(silent);
    eventually("the first is closed", || proxy.descriptors() == before + 2).await;
    rude.set_zero_linger().unwrap();
    drop(rude);
    eventually("the second is closed", || proxy.descriptors() == before + 1).await;
    // A half-closed client waits for its answer.
    let _echo = place.echo();
    assert_eq!(read_to_close(&mut waiting).await, b"question");
}

/// A multiplexer that gives `reply` to the handshake.
async fn hybrid_reply(listener: &UnixListener, reply: &[u8]) -> tokio::net::UnixStream {
    let mut stream = accept(listener).await;
    let mut request = [0; b"CONNECT 5000\n".len()];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut request).await.unwrap();
    assert_eq!(&request, b"CONNECT 5000\n");
    // The proxy hangs up on a reply it does not like.
    let _ = stream.write_all(reply).await;
    stream
}

#[tokio::test]
async fn a_hybrid_destination_is_asked_for_its_port() {
    let place = Place::new();
    let listener = place.listen();
    let route = format!("tcp:127.0.0.1:0=hybrid:{}:5000", place.socket().display());
    let proxy = RunningProxy::start(&["--route", &route]);

    let mut client = proxy.connect().await;
    drop(hybrid_reply(&listener, b"OK 1073741824\n\nglued\n").await);
    assert_eq!(read_to_close(&mut client).await, b"\nglued\n");

    for reply in [&b"NO\n"[..], &[b'O'; 100_000], b""] {
        let start = Instant::now();
        let mut client = proxy.connect().await;
        let refuse = async {
            // The proxy tries again until its time is over.
            loop {
                drop(hybrid_reply(&listener, reply).await);
            }
        };
        tokio::select! {
            bytes = read_to_close(&mut client) => assert_eq!(bytes, b""),
            () = refuse => {}
        }
        assert!(start.elapsed() < ABOUT_A_SECOND);
        // The last attempt may still be in the backlog.
        while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            drop(accepted);
        }
    }

    // A multiplexer that says nothing, or starts and does not finish.
    for reply in [&b""[..], b"OK"] {
        let start = Instant::now();
        let mut client = proxy.connect().await;
        let _held = hybrid_reply(&listener, reply).await;
        assert_eq!(read_to_close(&mut client).await, b"");
        assert!(start.elapsed() < ABOUT_A_SECOND);
    }
}

#[tokio::test]
async fn the_enclave_is_the_one_that_the_file_names_now() {
    let place = Place::new();
    let file = place.directory().join("env");
    let route = format!("tcp:127.0.0.1:0=enclave:{}:5000", file.display());
    let proxy = RunningProxy::start(&["--route", &route, "--dial-timeout-ms", "300", "--log-level", "debug"]);
    assert_eq!(
        proxy.announced[0],
        format!(
            "proxy: listening on tcp:127.0.0.1:{}, dialing enclave:{}:5000",
            proxy.port(0),
            file.display()
        )
    );
    // The file is missing, is a directory, names nobody, names what is no enclave: the client is closed.
    let replacement = place.directory().join("env.new");
    for (content, complaint) in [
        (None, "No such file"),
        (Some(""), "names no enclave (it is empty)"),
        (Some("AWS_REGION\n"), "names no enclave (it is not a number)"),
        (Some("AWS_REGION=us-east-1\n"), "names no enclave ("),
        (Some("16"), "names no enclave (it does not end in a line break)"),
        (Some("3\n"), "names no enclave (the number is not the CID of an enclave)"),
        (Some("4294967295\n"), "names no enclave (the number is not the CID of an enclave)"),
        // No machine has this CID: the error is the kernel's.
        (Some("4294967294\n"), ""),
        (Some("\n"), "names no enclave (it is not a number)"),
    ] {
        if let Some(content) = content {
            std::fs::write(&replacement, content).unwrap();
            std::fs::rename(&replacement, &file).unwrap();
        }
        let (start, logged) = (Instant::now(), proxy.log().len());
        let mut client = proxy.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(read_to_close(&mut client).await, b"", "{content:?}");
        assert!(start.elapsed() < ABOUT_A_SECOND);
        eventually("the failure is logged", || {
            let log = &proxy.log()[logged..];
            log.contains("destination not reached") && log.contains(complaint)
        })
        .await;
        assert_eq!(proxy.log()[logged..].contains("names no enclave"), !complaint.is_empty());
    }
    let log = proxy.log();
    assert_eq!(log.matches("further failures are only counted").count(), 1, "{log}");
    assert!(!log.contains("AWS_REGION") && !log.contains("POST"), "{log}");
}

/// Two enclaves cannot be served here, but that each attempt reads the file can be seen: by a file that goes.
#[tokio::test]
async fn an_enclave_file_is_read_again_while_a_client_waits() {
    let place = Place::new();
    let file = place.directory().join("env");
    let route = format!("tcp:127.0.0.1:0=enclave:{}:5000", file.display());
    let proxy = RunningProxy::start(&["--route", &route, "--dial-timeout-ms", "1500"]);
    std::fs::write(&file, "\n").unwrap();
    let mut client = proxy.connect().await;
    client.write_all(b"early").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(read_to_close(&mut client).await, b"");
    eventually("the last attempt's failure is logged", || proxy.log().contains("No such file")).await;
}
