//! A request as bytes, built line by line so that any line can be wrong.

/// A request under construction. Header lines keep their order; nothing is checked.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request with a `host` and nothing else.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: vec![("host".to_owned(), "signer".to_owned())],
            body: Vec::new(),
        }
    }

    /// A `POST` with the API key and a JSON body, as the client sends it.
    #[must_use]
    pub fn post(target: &str, api_key: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target)
            .header("content-type", "application/json")
            .header("x-internal-api-key", api_key)
            .body(body)
    }

    /// The same request with another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// The same request with another target.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// The same request with another version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes every header line called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// Sets the body, with its `content-length`.
    #[must_use]
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        let mut request = self.without("content-length").header("content-length", &length);
        request.body = body.as_ref().to_vec();
        request
    }

    /// Announces the body in chunks of `size` bytes instead of by its length.
    #[must_use]
    pub fn chunked(self, size: usize) -> Self {
        let mut request = self.without("content-length").header("transfer-encoding", "chunked");
        request.body = chunks(&request.body, size);
        request
    }

    /// The request line and headers, blank line included.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The whole request.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    /// The request's method.
    #[must_use]
    pub fn method_name(&self) -> &str {
        &self.method
    }
}

/// `body` in chunks of `size` bytes, with the last, empty one.
#[must_use]
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
