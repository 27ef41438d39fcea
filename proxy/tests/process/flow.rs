//! Bytes, half-closes and early answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::{Place, accept, assert_echoes};
use crate::running_proxy::{PATIENCE, RunningProxy, eventually, route_to};

const MIB: u64 = 1024 * 1024;

const ANSWER: &[u8] = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn half_close_passes_both_ways() {
    let place = Place::new();
    let listener = place.listen();
    let proxy = RunningProxy::start(&["--route", &route_to(&place.socket())]);
    let mut text = String::new();

    let mut client = proxy.connect().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut enclave = accept(&listener).await;
    enclave.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");
    enclave.write_all(b"answer").await.unwrap();
    drop(enclave);
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");

    let mut client = proxy.connect().await;
    let mut enclave = accept(&listener).await;
    enclave.write_all(b"greeting").await.unwrap();
    enclave.shutdown().await.unwrap();
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "greeting");
    for _ in 0..3 {
        client.write_all(b"still ").await.unwrap();
        enclave.read_exact(&mut [0; 6]).await.unwrap();
    }
    client.write_all(b"here").await.unwrap();
    drop(client);
    text.clear();
    enclave.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "here");
}

/// An enclave that refuses a body answers after the head and closes with the body unread.
async fn assert_early_answer_arrives(mut client: TcpStream, refuse: impl Future<Output = ()>) {
    // More than all socket buffers on the way hold.
    let body = vec![b'x'; 12 * 1024 * 1024];
    let (mut reader, mut writer) = client.split();
    let send = async {
        writer.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        // A client of this kind reads only after it has sent everything.
        writer.write_all(&body).await.unwrap();
    };
    let exchange = async {
        tokio::join!(send, refuse);
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, ANSWER);
    };
    timeout(PATIENCE, exchange).await.expect("the answer comes");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let place = Place::new();
    let listener = place.listen();
    let proxy = RunningProxy::start(&["--route", &route_to(&place.socket())]);
    for _ in 0..20 {
        let refuse = async {
            let mut enclave = accept(&listener).await;
            enclave.read_exact(&mut [0; 16]).await.unwrap();
            enclave.write_all(ANSWER).await.unwrap();
        };
        assert_early_answer_arrives(proxy.connect().await, refuse).await;
    }

    // Over tcp the enclave's close is a reset, because it has unread bytes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = format!("tcp:127.0.0.1:0=tcp:{}", listener.local_addr().unwrap());
    let proxy = RunningProxy::start(&["--route", &route]);
    for _ in 0..20 {
        let refuse = async {
            let (mut enclave, _) = listener.accept().await.unwrap();
            enclave.read_exact(&mut [0; 16]).await.unwrap();
            enclave.write_all(ANSWER).await.unwrap();
        };
        assert_early_answer_arrives(proxy.connect().await, refuse).await;
    }
}

#[tokio::test]
async fn a_slow_reader_stops_only_itself() {
    let place = Place::new();
    let listener = place.listen();
    let proxy = RunningProxy::start(&["--route", &route_to(&place.socket())]);
    let slow = proxy.connect().await;
    let mut enclave = accept(&listener).await;

    // The enclave gets rid of what the buffers on the way hold, and not of more.
    let piece = vec![1; 64 * 1024];
    let mut sent_bytes = 0;
    while let Ok(sent) = timeout(Duration::from_millis(500), enclave.write(&piece)).await {
        sent_bytes += sent.unwrap() as u64;
        assert!(sent_bytes < 64 * MIB, "nothing holds the enclave back");
    }
    let echo = tokio::spawn(async move {
        loop {
            let mut stream = accept(&listener).await;
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        }
    });
    for _ in 0..20 {
        assert_echoes(&mut proxy.connect().await, b"hello").await;
    }

    // Nothing was lost: the slow reader gets everything in the end.
    drop(enclave);
    let mut slow = slow;
    let mut received_bytes = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = timeout(PATIENCE, slow.read(&mut buffer)).await;
        match count.expect("the bytes come").unwrap() {
            0 => break,
            count => received_bytes += count as u64,
        }
    }
    assert_eq!(received_bytes, sent_bytes);
    echo.abort();
}

#[tokio::test]
async fn a_reader_that_never_reads_is_closed() {
    let place = Place::new();
    let listener = place.listen();
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&["--route", &route, "--progress-timeout-s", "1"]);
    let _client = proxy.connect().await;
    let mut enclave = accept(&listener).await;
    let piece = vec![1; 64 * 1024];
    let flood = async { while enclave.write_all(&piece).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the proxy gives up");
}

#[tokio::test]
async fn silence_is_closed() {
    let place = Place::new();
    let _echo = place.echo();
    let route = route_to(&place.socket());
    let proxy = RunningProxy::start(&["--route", &route, "--idle-timeout-s", "1"]);
    let mut client = proxy.connect().await;
    assert_echoes(&mut client, b"hello").await;
    let end = timeout(PATIENCE, client.read(&mut [0])).await;
    assert_eq!(end.expect("the proxy closes").unwrap(), 0);
}

/// A cheap stream of bytes that repeats nowhere near a buffer's size.
struct Pattern(u64);

impl Pattern {
    fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&self.0.to_le_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_in_constant_memory() {
    const TOTAL_BYTES: usize = 1024 * 1024 * 1024;
    const PIECE_BYTES: usize = 256 * 1024;
    let place = Place::new();
    let _echo = place.echo();
    let proxy = RunningProxy::start(&["--route", &route_to(&place.socket())]);
    let mut client = proxy.connect().await;
    assert_echoes(&mut client, &[7; 100_000]).await;
    let peak_before = proxy.memory_bytes("VmHWM");

    let (mut reader, mut writer) = client.into_split();
    let sending = tokio::spawn(async move {
        let mut pattern = Pattern(1);
        let mut piece = vec![0; PIECE_BYTES];
        for _ in 0..TOTAL_BYTES / 2 / PIECE_BYTES {
            pattern.fill(&mut piece);
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    let mut pattern = Pattern(1);
    let (mut expected, mut received) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    // Half a gibibyte each way.
    for _ in 0..TOTAL_BYTES / 2 / PIECE_BYTES {
        pattern.fill(&mut expected);
        reader.read_exact(&mut received).await.unwrap();
        assert!(received == expected, "the bytes differ");
    }
    assert_eq!(reader.read(&mut received).await.unwrap(), 0);
    sending.await.unwrap();

    let growth = proxy.memory_bytes("VmHWM") - peak_before;
    assert!(growth < 2 * MIB, "grew by {growth} bytes");
}

#[tokio::test]
async fn nothing_is_left_of_a_connection() {
    let place = Place::new();
    let _echo = place.echo();
    let proxy = RunningProxy::start_with_a_dead_route(&place.socket(), &["--dial-timeout-ms", "20"]);
    assert_echoes(&mut proxy.connect().await, b"first").await;
    eventually("the first connection is closed", || proxy.descriptors() < 20).await;
    let before = proxy.descriptors();
    for round in 0..50 {
        let mut polite = proxy.connect().await;
        assert_echoes(&mut polite, b"hello").await;
        let mut rude = proxy.connect().await;
        rude.write_all(&[round; 1000]).await.unwrap();
        rude.set_zero_linger().unwrap();
        let silent = proxy.connect().await;
        let unanswered = proxy.connect_to(1).await;
        drop((polite, rude, silent, unanswered));
    }
    eventually("all descriptors are closed", || proxy.descriptors() <= before).await;
}
