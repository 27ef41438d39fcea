//! A request with its answer, and the checks a row of `docs/api.md` makes on them.

use std::time::Duration;

use crate::contract::error_body;
use crate::failure::{Failure, ensure, fail};
use crate::raw_http::{Connection, Response, has_json_headers, has_no_banner, shown};

/// How long a server may take to close after it said that it does.
const CLOSING: Duration = Duration::from_secs(5);

/// A request and its answer.
pub struct Exchange {
    sent: Vec<u8>,
    answer: Result<Response, Failure>,
    connection: Option<Connection>,
}

impl Exchange {
    /// Sends `bytes` on `connection` and reads the answer; `method` is the request's.
    #[must_use]
    pub fn on(mut connection: Connection, method: &str, bytes: &[u8]) -> Self {
        connection.send_what_it_takes(bytes);
        let answer = connection.receive_for(method, Duration::from_secs(20));
        Self { sent: bytes.to_vec(), answer, connection: Some(connection) }
    }

    /// An exchange that happened elsewhere.
    #[must_use]
    pub fn of(sent: &[u8], answer: Result<Response, Failure>) -> Self {
        Self { sent: sent.to_vec(), answer, connection: None }
    }

    /// The answer, whatever it is.
    pub fn response(&self) -> Result<&Response, Failure> {
        match &self.answer {
            Ok(response) => Ok(response),
            Err(why) => fail(format!("{why}\nsent {}", shown(&self.sent))),
        }
    }

    /// Gives the connection back, for the next request on it.
    #[must_use]
    pub fn into_connection(self) -> Option<Connection> {
        self.connection
    }

    /// Checks status, headers and the exact body.
    pub fn is(&self, status: u16, body: &str) -> Result<(), Failure> {
        let response = self.response()?;
        self.explain(ensure(response.status == status, || {
            format!("status {}, not {status}", response.status)
        }))?;
        self.explain(has_json_headers(response))?;
        self.explain(ensure(response.body == body.as_bytes(), || format!("the body is not {body}")))
    }

    /// Checks that the answer is the error `text` with `status`.
    pub fn is_error(&self, status: u16, text: &str) -> Result<(), Failure> {
        self.is(status, &error_body(text))
    }

    /// Checks for 503 with its `retry-after`.
    pub fn is_at_capacity(&self) -> Result<(), Failure> {
        self.is_error(503, crate::contract::AT_CAPACITY)?;
        self.has_header("retry-after", "1")
    }

    /// Checks one header.
    pub fn has_header(&self, name: &str, value: &str) -> Result<(), Failure> {
        let found = self.response()?.header(name);
        self.explain(ensure(found == Some(value), || format!("header `{name}` is {found:?}, not {value:?}")))
    }

    /// Checks that the answer has `status` and no body, and that the connection closes.
    ///
    /// This is what `docs/api.md` says of requests which are not HTTP: there is no text to compare.
    pub fn is_refused_unread(mut self, status: u16) -> Result<(), Failure> {
        let response = self.response()?;
        self.explain(ensure(response.status == status, || {
            format!("status {}, not {status}", response.status)
        }))?;
        self.explain(ensure(response.body.is_empty(), || "a body".to_owned()))?;
        self.explain(has_no_banner(response))?;
        self.closes()
    }

    /// Checks that the answer says `connection: close` and that the connection does close.
    pub fn closes(&mut self) -> Result<(), Failure> {
        self.has_header("connection", "close")?;
        let closed = match &mut self.connection {
            Some(connection) => connection.closes_within(CLOSING),
            None => fail("the connection was not kept to look at"),
        };
        self.explain(closed)
    }

    fn explain(&self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        outcome.map_err(|why| {
            let received = match &self.answer {
                Ok(r) => format!("{} {} {:?} {}", r.version, r.status, r.headers, shown(&r.body)),
                Err(e) => e.to_string(),
            };
            Failure::new(format!("{why}\nsent {}\nreceived {received}", shown(&self.sent)))
        })
    }
}
