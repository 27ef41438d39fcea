//! Requests to the ACME server. Each is signed, has a nonce and goes to a URL on the server's host (RFC 8555 §6).

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::Value;

use super::account_key::Signer;
use super::answer::Answer;
use super::error::AcmeError;
use super::resource::Directory;
use super::server::{AcmeServer, Connection};
use configuration::HttpsUrl;

/// Attempts with a new nonce each. A server may have forgotten a nonce. A server that refuses this many has another
/// reason.
const MAX_NONCES: u32 = 5;

/// A client that has read the server's directory.
pub(crate) struct AcmeClient<'s> {
    server: &'s AcmeServer,
    connection: Option<Connection>,
    nonce: Option<String>,
    directory: Directory,
}

impl<'s> AcmeClient<'s> {
    /// Connects to the server and reads its directory.
    pub(crate) async fn open(server: &'s AcmeServer) -> Result<Self, AcmeError> {
        let mut connection = server.connect().await?;
        let request = server.request(Method::GET, server.directory(), None)?;
        let response = connection.exchange(request).await?;
        let answer = Answer::of(response, server.now()).accepted()?;
        let directory = Directory::read(&answer.body, server.directory())?;
        Ok(Self { server, connection: Some(connection), nonce: None, directory })
    }

    /// The server's directory.
    pub(crate) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The URL of the directory.
    pub(crate) const fn home(&self) -> &HttpsUrl {
        self.server.directory()
    }

    /// Reads the resource at `url`.
    pub(crate) async fn look(&mut self, signer: Signer<'_>, url: &HttpsUrl) -> Result<Answer, AcmeError> {
        self.send(signer, url, None).await
    }

    /// Sends `payload` to `url`.
    pub(crate) async fn post(
        &mut self,
        signer: Signer<'_>,
        url: &HttpsUrl,
        payload: &Value,
    ) -> Result<Answer, AcmeError> {
        self.send(signer, url, Some(payload)).await
    }

    async fn send(
        &mut self,
        signer: Signer<'_>,
        url: &HttpsUrl,
        payload: Option<&Value>,
    ) -> Result<Answer, AcmeError> {
        let mut tries = 0;
        loop {
            let nonce = self.take_nonce().await?;
            let body = signer.request(&url.to_string(), &nonce, payload)?;
            let request = self.server.request(Method::POST, url, Some(body))?;
            let outcome = self.exchange(request).await;
            tries += 1;
            let may_retry = matches!(&outcome, Err(AcmeError::Refused(problem)) if problem.is("badNonce"));
            if !may_retry || tries == MAX_NONCES {
                return outcome;
            }
        }
    }

    async fn take_nonce(&mut self) -> Result<String, AcmeError> {
        if let Some(nonce) = self.nonce.take() {
            return Ok(nonce);
        }
        let request = self.server.request(Method::HEAD, &self.directory.new_nonce, None)?;
        self.exchange(request).await?;
        self.nonce.take().ok_or(AcmeError::Unintelligible("it sends no nonce"))
    }

    /// Keeps the nonce of an answer; refusals have one too.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, AcmeError> {
        let open = self.connection.take().filter(Connection::is_open);
        let mut connection = match open {
            Some(connection) => connection,
            None => self.server.connect().await?,
        };
        let response = connection.exchange(request).await?;
        // A failed connection is not used again.
        self.connection = Some(connection);
        let mut answer = Answer::of(response, self.server.now());
        self.nonce = answer.nonce.take();
        answer.accepted()
    }
}
