//! Listeners, streams and dialing, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use transport::{Address, Listener, Stream, dial};

fn address(text: &str) -> Address {
    text.parse().expect("the address is valid")
}

fn unix(directory: &Path, name: &str) -> Address {
    address(&format!("unix:{}", directory.join(name).display()))
}

fn hybrid(directory: &Path, name: &str, port: u32) -> Address {
    address(&format!("hybrid:{}:{port}", directory.join(name).display()))
}

/// Accepts and dials, and checks that each side can close its half and still read.
async fn exchange(listener: &Listener, address: &Address) -> (Stream, Stream) {
    let (accepted, dialed) = tokio::join!(listener.accept(), dial(address));
    let (mut accepted, mut dialed) = (accepted.unwrap(), dialed.unwrap());
    let mut text = String::new();

    dialed.write_all(b"question").await.unwrap();
    dialed.shutdown().await.unwrap();
    accepted.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");

    text.clear();
    accepted.write_all(b"answer").await.unwrap();
    accepted.shutdown().await.unwrap();
    dialed.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
    (accepted, dialed)
}

#[tokio::test]
async fn tcp_reports_its_port_and_does_not_wait_to_send() {
    for host in ["127.0.0.1", "[::1]"] {
        let listener = match Listener::bind(&address(&format!("tcp:{host}:0"))).await {
            Ok(listener) => listener,
            // A machine without IPv6.
            Err(error) if host == "[::1]" => {
                assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let local_address = listener.local_address().clone();
        assert!(matches!(local_address, Address::Tcp { port, .. } if port != 0));
        let (accepted, dialed) = exchange(&listener, &local_address).await;
        for stream in [accepted, dialed] {
            assert!(matches!(stream, Stream::Tcp(tcp) if tcp.nodelay().unwrap()));
        }
    }
}

/// The kernel doubles what is asked for, and shows the doubled size.
#[tokio::test]
async fn tcp_and_unix_have_buffers_of_a_fixed_size() {
    const SHOWN_BYTES: usize = 65_536;
    let tcp = Listener::bind(&address("tcp:127.0.0.1:0")).await.unwrap();
    let by_name = address(&tcp.local_address().to_string().replace("127.0.0.1", "localhost"));
    for to in [tcp.local_address(), &by_name] {
        let (accepted, dialed) = exchange(&tcp, to).await;
        for stream in [accepted, dialed] {
            let Stream::Tcp(tcp) = stream else { panic!("not tcp") };
            assert_eq!(getsockopt(&tcp, sockopt::RcvBuf).unwrap(), SHOWN_BYTES);
            assert_eq!(getsockopt(&tcp, sockopt::SndBuf).unwrap(), SHOWN_BYTES);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let address = unix(directory.path(), "a.sock");
    let listener = Listener::bind(&address).await.unwrap();
    let (accepted, dialed) = exchange(&listener, &address).await;
    for stream in [accepted, dialed] {
        let Stream::Unix(unix) = stream else { panic!("not unix") };
        assert_eq!(getsockopt(&unix, sockopt::SndBuf).unwrap(), SHOWN_BYTES);
    }
}

#[tokio::test]
async fn a_name_is_dialed_until_an_address_answers() {
    let listener = Listener::bind(&address("tcp:127.0.0.1:0")).await.unwrap();
    let local_address = listener.local_address().to_string();
    let by_name = address(&local_address.replace("127.0.0.1", "localhost"));
    exchange(&listener, &by_name).await;
}

#[tokio::test]
async fn a_bound_tcp_port_is_in_use() {
    let first = Listener::bind(&address("tcp:127.0.0.1:0")).await.unwrap();
    let error = Listener::bind(first.local_address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_and_goes_with_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(directory.path(), "a.sock");
    let listener = Listener::bind(&address).await.unwrap();
    let metadata = directory.path().join("a.sock").metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    exchange(&listener, &address).await;
    drop(listener);
    assert!(!directory.path().join("a.sock").exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(directory.path(), "a.sock");
    // The standard library leaves the file behind, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("a.sock")).unwrap());
    let listener = Listener::bind(&address).await.unwrap();
    let error = Listener::bind(&address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    // The probe of the failed attempt is a connection; the listener outlives it.
    drop(listener.accept().await.unwrap());
    exchange(&listener, &address).await;
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    for name in ["precious", "link"] {
        let error = Listener::bind(&unix(directory.path(), name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");

    let missing_directory = unix(directory.path(), "missing/a.sock");
    let error = Listener::bind(&missing_directory).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_successors_socket_outlives_its_predecessor() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(directory.path(), "a.sock");
    let first = Listener::bind(&address).await.unwrap();
    std::fs::remove_file(directory.path().join("a.sock")).unwrap();
    let second = Listener::bind(&address).await.unwrap();
    drop(first);
    exchange(&second, &address).await;
}

#[tokio::test]
async fn a_hybrid_listener_binds_the_path_of_its_port() {
    let directory = tempfile::tempdir().unwrap();
    let listener = Listener::bind(&hybrid(directory.path(), "v.sock", 8000)).await.unwrap();
    exchange(&listener, &unix(directory.path(), "v.sock_8000")).await;
}

/// Dials a hybrid address whose multiplexer answers `reply` and closes, returning what came after the
/// handshake.
async fn dial_hybrid(reply: &'static [u8]) -> std::io::Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let multiplexer = UnixListener::bind(directory.path().join("v.sock"))?;
    let server = tokio::spawn(async move {
        let mut request = [0; b"CONNECT 5000\n".len()];
        let (mut stream, _) = multiplexer.accept().await.unwrap();
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"CONNECT 5000\n");
        // The other side may have read enough and left.
        let _ = stream.write_all(reply).await;
    });
    let result = dial(&hybrid(directory.path(), "v.sock", 5000)).await;
    server.await.expect("the multiplexer got its request");
    let mut rest = Vec::new();
    result?.read_to_end(&mut rest).await?;
    Ok(rest)
}

#[tokio::test]
async fn the_hybrid_handshake_ends_with_its_newline() {
    let rest = dial_hybrid(b"OK 5000\n\nOK 1\nguest").await.unwrap();
    assert_eq!(rest, b"\nOK 1\nguest");
    let rest = dial_hybrid(b"OK 1073741824\n").await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn any_other_hybrid_reply_is_an_error() {
    for reply in [
        &b"NO\n"[..],
        b"OK5000\n",
        b"ok 5000\n",
        b"\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        &[b'1'; 100_000],
        b"OK 0000000000000000000000000000000000000000000000\n",
    ] {
        let error = dial_hybrid(reply).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{reply:?}");
    }
    for reply in [&b""[..], b"OK 5000"] {
        let error = dial_hybrid(reply).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{reply:?}");
    }
}

#[tokio::test]
async fn an_address_of_the_wrong_kind_is_invalid_input() {
    for text in ["tcp:127.0.0.1:0", "tcp:0.0.0.0:1", "vsock:any:1"] {
        let error = dial(&address(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let error = Listener::bind(&address("tcp:localhost:0")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_unreachable_vsock_address_is_an_error() {
    // No machine has the reserved CID 4294967294, and a kernel without AF_VSOCK fails sooner.
    dial(&address("vsock:4294967294:1")).await.unwrap_err();
    Listener::bind(&address("vsock:4294967294:1")).await.unwrap_err();
}

#[tokio::test]
async fn a_vsock_port_has_one_listener() {
    let address = address("vsock:any:1073800001");
    match Listener::bind(&address).await {
        Ok(listener) => {
            assert_eq!(listener.local_address(), &address);
            let error = Listener::bind(&address).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
        }
        // A kernel without AF_VSOCK refuses at once.
        Err(error) => assert_ne!(error.kind(), ErrorKind::AddrInUse),
    }
}

#[tokio::test]
async fn an_empty_write_tells_whether_the_peer_reads() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(directory.path(), "a.sock");
    let listener = Listener::bind(&address).await.unwrap();
    let (accepted, dialed) = tokio::join!(listener.accept(), dial(&address));
    let (mut accepted, mut dialed) = (accepted.unwrap(), dialed.unwrap());
    dialed.shutdown().await.unwrap();
    assert_eq!(accepted.write(b"").await.unwrap(), 0);
    assert_eq!(accepted.read(&mut [0]).await.unwrap(), 0);
    drop(dialed);
    let error = accepted.write(b"").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}
