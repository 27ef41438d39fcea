//! A stand-in for the enclave: a unix socket in a directory of its own.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::running_proxy::PATIENCE;

/// A place for a listening socket, which may or may not be there.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("the temporary directory is writable") }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("enclave.sock")
    }

    /// Listens, after removing what a predecessor left.
    pub(crate) fn listen(&self) -> UnixListener {
        let _ = std::fs::remove_file(self.socket());
        let socket = UnixSocket::new_stream().expect("unix sockets exist");
        socket.bind(self.socket()).expect("the path is free");
        socket.listen(4096).expect("a bound socket listens")
    }

    /// Answers each connection with what it sent.
    pub(crate) fn echo(&self) -> JoinHandle<()> {
        let listener = self.listen();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("the socket listens");
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                });
            }
        })
    }
}

pub(crate) async fn accept(listener: &UnixListener) -> UnixStream {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    accepted.expect("a client comes").expect("the socket listens").0
}

/// Sends a message and expects it back.
pub(crate) async fn assert_echoes(client: &mut TcpStream, message: &[u8]) {
    let exchange = async {
        client.write_all(message).await.unwrap();
        let mut answer = vec![0; message.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, message);
    };
    timeout(PATIENCE, exchange).await.expect("the echo comes");
}

/// Everything up to the end, which may be a reset.
pub(crate) async fn read_to_close<S: AsyncRead + Unpin>(client: &mut S) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match timeout(PATIENCE, client.read(&mut piece)).await {
            Ok(Ok(count @ 1..)) => bytes.extend_from_slice(&piece[..count]),
            Ok(Ok(0) | Err(_)) => return bytes,
            Err(_) => panic!("the connection stays open"),
        }
    }
}
