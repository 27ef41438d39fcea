//! The three calls of the signer that resealing needs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Halt;
use crate::api_key::ApiKey;
use crate::backup_table::MAX_SEALED_KEY_BYTES;
use crate::connection::{Answer, Client, Connection, Unreachable};
use crate::identity::Identity;
use crate::printable::{MAX_WORDS_CHARS, printable};

/// First wait before a try is repeated; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Longest wait before a try is repeated: so long is a signer that came back left alone.
const MAX_WAIT: Duration = Duration::from_secs(2);

const EXPORT: &str = "/internal/backup/export";
const IMPORT: &str = "/internal/backup/import";
const DESTROY: &str = "/internal/destroy";

/// 404: there is no such key. The same status for an unknown path has other words.
const KEY_NOT_FOUND: &str = "Identity key not found";

/// Why the signer did not do the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of its answer.
    pub status: u16,
    /// Its words.
    pub words: String,
}

/// The outcome of an export.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Export {
    Sealed(String),
    /// There is no such key in the signer.
    NotLive,
    Refused(Refusal),
}

/// The outcome of an import.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Import {
    /// The key is in the signer: it was before, or is now.
    Done,
    /// Another key of this identity is.
    OtherKey(Refusal),
    /// `is_lost`: to one of the tries the signer gave no answer, so that it may have put the key in.
    Refused { refusal: Refusal, is_lost: bool },
}

/// The outcome of a destruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destroy {
    Done,
    Refused(Refusal),
}

/// A signer, as far as backups go. Each call may be made twice.
pub(super) trait BackupApi {
    fn export(&mut self, identity: &Identity) -> impl Future<Output = Result<Export, Halt>> + Send;

    fn import(
        &mut self,
        identity: &Identity,
        sealed_key: &str,
    ) -> impl Future<Output = Result<Import, Halt>> + Send;

    fn destroy(&mut self, identity: &Identity) -> impl Future<Output = Result<Destroy, Halt>> + Send;
}

/// A signer behind a connection of its own. Repeats a request that has to wait or gets no answer.
pub(super) struct Caller {
    client: Client,
    api_key: Arc<ApiKey>,
    /// How long it asks again for one answer.
    patience: Duration,
    stop: watch::Receiver<bool>,
    connection: Option<Connection>,
}

/// The last answer of a signer.
struct Reply {
    answer: Answer,
    /// It did not answer one of the tries before.
    is_lost: bool,
}

impl Caller {
    pub(super) fn new(
        client: Client,
        api_key: Arc<ApiKey>,
        patience: Duration,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { client, api_key, patience, stop, connection: None }
    }

    /// The answer that stays when all has been tried.
    async fn ask(&mut self, path: &'static str, body: String) -> Result<Reply, Halt> {
        let mut wait = FIRST_WAIT;
        let mut is_lost = false;
        let started = Instant::now();
        loop {
            let answer = self.ask_once(path, body.clone()).await;
            // A proxy before the signer has words of its own.
            is_lost |= answer
                .as_ref()
                .map_or(true, |answer| may_pass(answer.status) && answer.text("error").is_none());
            let is_settled = answer.as_ref().is_ok_and(|answer| !may_pass(answer.status));
            if is_settled || started.elapsed() + wait > self.patience {
                return match answer {
                    Ok(answer) if answer.status == 401 => Err(Halt::KeyRefused),
                    Ok(answer) if answer.status == 403 => Err(Halt::NotAllowed(path)),
                    Ok(answer) => Ok(Reply { answer, is_lost }),
                    Err(error) => Err(Halt::Gone(error)),
                };
            }
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return Err(Halt::Stopped),
                () = sleep(wait) => {}
            }
            wait = (2 * wait).min(MAX_WAIT);
        }
    }

    async fn ask_once(&mut self, path: &'static str, body: String) -> Result<Answer, Unreachable> {
        let mut connection = match self.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.client.connect().await?,
        };
        let answer = connection.post(path, &self.api_key, body).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// Whether an answer may be another one next time: the signer is full or busy, its key service is in trouble, or a
/// proxy before it says that it has not come up.
const fn may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

impl BackupApi for Caller {
    async fn export(&mut self, identity: &Identity) -> Result<Export, Halt> {
        let body = json!({ "identity_id": identity.to_string() });
        let answer = self.ask(EXPORT, body.to_string()).await?.answer;
        if answer.status == 404 && answer.text("error").as_deref() == Some(KEY_NOT_FOUND) {
            return Ok(Export::NotLive);
        }
        // A text that the journal could not store is no backup.
        let is_backup = |text: &String| (1..=MAX_SEALED_KEY_BYTES).contains(&text.len());
        match answer.text("sealed_key").filter(|text| answer.status == 200 && is_backup(text)) {
            Some(sealed_key) => Ok(Export::Sealed(sealed_key)),
            None => refusal(&answer).map(Export::Refused),
        }
    }

    async fn import(&mut self, identity: &Identity, sealed_key: &str) -> Result<Import, Halt> {
        let body =
            json!({ "identity_id": identity.to_string(), "alg": "secp256k1", "sealed_key": sealed_key });
        let Reply { answer, is_lost } = self.ask(IMPORT, body.to_string()).await?;
        match answer.status {
            200 if is_ok(&answer) => Ok(Import::Done),
            409 => refusal(&answer).map(Import::OtherKey),
            _ => refusal(&answer).map(|refusal| Import::Refused { refusal, is_lost }),
        }
    }

    async fn destroy(&mut self, identity: &Identity) -> Result<Destroy, Halt> {
        let body = json!({ "identity_id": identity.to_string() });
        let answer = self.ask(DESTROY, body.to_string()).await?.answer;
        let is_absent = answer.status == 404 && answer.text("error").as_deref() == Some(KEY_NOT_FOUND);
        if is_absent || answer.status == 200 && is_ok(&answer) {
            return Ok(Destroy::Done);
        }
        refusal(&answer).map(Destroy::Refused)
    }
}

fn is_ok(answer: &Answer) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    body.is_some_and(|body| body.get("ok") == Some(&true.into()))
}

/// The refusal in `answer`, if it is the answer of a signer.
fn refusal(answer: &Answer) -> Result<Refusal, Halt> {
    let words = answer.text("error").filter(|_| matches!(answer.status, 400 | 409 | 413 | 429 | 500..=504));
    let words = match (words, may_pass(answer.status)) {
        (Some(words), _) => printable(&words, MAX_WORDS_CHARS),
        (None, true) => "no answer of the signer's".to_owned(),
        (None, false) => return Err(Halt::NoSigner(answer.status)),
    };
    Ok(Refusal { status: answer.status, words })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use tokio::sync::watch;
    use zeroize::Zeroizing;

    use super::{BackupApi as _, Caller, Halt, Import, Refusal, is_ok, refusal};
    use crate::api_key::ApiKey;
    use crate::connection::{Answer, Client};
    use crate::identity::Identity;
    use crate::tls_trust::TlsTrust;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned().into() }
    }

    #[test]
    fn who_answers_unlike_a_signer_is_none() {
        for (status, body) in [
            (200, r#"{"ok":true}"#),
            (404, r#"{"error":"Not found"}"#),
            (405, r#"{"error":"Method not allowed"}"#),
            (400, "<html>"),
            (500, "{}"),
            (301, ""),
        ] {
            let outcome = refusal(&answer(status, body));
            assert!(matches!(outcome, Err(Halt::NoSigner(of)) if of == status), "{status} {body}");
        }
        let said = refusal(&answer(500, r#"{"error":"Unable to open sealed key"}"#)).unwrap();
        assert_eq!(said, Refusal { status: 500, words: "Unable to open sealed key".to_owned() });
        assert_eq!(refusal(&answer(502, "<html>")).unwrap().words, "no answer of the signer's");
        assert!(is_ok(&answer(200, r#"{"ok":true}"#)) && !is_ok(&answer(200, r#"{"ok":1}"#)));
    }

    /// Takes an import on each connection and answers it so, or not at all.
    fn import_from(answers: &'static [&'static str]) -> Import {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let signer = thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    let mut bytes = [0; 1024];
                    let read = stream.read(&mut bytes).unwrap();
                    request.extend_from_slice(&bytes[..read]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let api_key = ApiKey::new(Zeroizing::new(b"0mEyH5c7nPzQ81ka".to_vec())).unwrap();
        let client = Client::new(url.parse().unwrap(), &TlsTrust::WebPki);
        let (_stop, stopped) = watch::channel(false);
        let mut caller = Caller::new(client, Arc::new(api_key), Duration::from_secs(20), stopped);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let import = runtime.block_on(caller.import(&Identity::random(), "ns1.x")).unwrap();
        signer.join().unwrap();
        import
    }

    #[test]
    fn a_try_without_an_answer_is_remembered() {
        const OWN: &str =
            "HTTP/1.1 503 So\r\nconnection: close\r\ncontent-length: 16\r\n\r\n{\"error\":\"Full\"}";
        const PROXYS: &str = "HTTP/1.1 504 So\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";
        const LAST: &str =
            "HTTP/1.1 500 So\r\nconnection: close\r\ncontent-length: 14\r\n\r\n{\"error\":\"No\"}";
        let refusal = Refusal { status: 500, words: "No".to_owned() };
        for (answers, is_lost) in
            [(&[LAST][..], false), (&[OWN, LAST], false), (&["", LAST], true), (&[PROXYS, OWN, LAST], true)]
        {
            assert_eq!(
                import_from(answers),
                Import::Refused { refusal: refusal.clone(), is_lost },
                "{answers:?}"
            );
        }
    }
}
