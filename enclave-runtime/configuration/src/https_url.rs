//! The URL of an ACME directory, in its parts.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// The maximum length. URLs of known servers have 60 bytes at most.
const MAX_URL_BYTES: usize = 1024;

const HTTPS_PORT: u16 = 443;

/// An https URL with a DNS name in lower case as its host, and without user information or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    host: String,
    port: u16,
    /// With the query, if the URL has one.
    path: String,
}

/// The text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoHttpsUrl;

impl fmt::Display for NoHttpsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not the https URL of a host with a DNS name")
    }
}

impl std::error::Error for NoHttpsUrl {}

impl HttpsUrl {
    /// The host to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 by default.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path and query of a request.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == HTTPS_PORT { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Parses another URL; `None` if its host or port differs.
    #[must_use]
    pub fn beside(&self, text: &str) -> Option<Self> {
        let other: Self = text.parse().ok()?;
        (self.host == other.host && self.port == other.port).then_some(other)
    }
}

impl FromStr for HttpsUrl {
    type Err = NoHttpsUrl;

    fn from_str(text: &str) -> Result<Self, NoHttpsUrl> {
        // `Uri` drops a fragment, so it would be a second spelling.
        if text.len() > MAX_URL_BYTES || text.contains('#') {
            return Err(NoHttpsUrl);
        }
        let url: Uri = text.parse().map_err(|_| NoHttpsUrl)?;
        let authority = url.authority().ok_or(NoHttpsUrl)?;
        if url.scheme() != Some(&Scheme::HTTPS) || authority.as_str().contains('@') {
            return Err(NoHttpsUrl);
        }
        let host = authority.host().to_ascii_lowercase();
        if !is_dns_name(&host) {
            return Err(NoHttpsUrl);
        }
        let port = match authority.as_str().get(host.len()..) {
            Some("") => HTTPS_PORT,
            Some(_) => authority.port_u16().filter(|port| *port != 0).ok_or(NoHttpsUrl)?,
            None => return Err(NoHttpsUrl),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let root = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { host, port, path: format!("{root}{path}") })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "https://{}{}", self.authority(), self.path)
    }
}

/// Whether `name` is a DNS name in lower case, as in certificates and `Host` headers. Labels have letters, digits and
/// inner hyphens. The last label is not a number, since the name would be an IPv4 address.
fn is_dns_name(name: &str) -> bool {
    /// The limit of RFC 1035, without the root's dot.
    const MAX_NAME_BYTES: usize = 253;
    const MAX_LABEL_BYTES: usize = 63;
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_a_number =
        name.rsplit('.').next().is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label) && !last_is_a_number
}

#[cfg(test)]
mod tests {
    use super::HttpsUrl;

    #[test]
    fn a_url_is_parsed_into_its_parts() {
        for (text, host, port, path) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org",
                443,
                "/directory",
            ),
            ("https://localhost:14000/dir", "localhost", 14000, "/dir"),
            ("https://a.b:443/", "a.b", 443, "/"),
            ("https://a.b", "a.b", 443, "/"),
            ("HTTPS://A.B/Q?x=%20y&z", "a.b", 443, "/Q?x=%20y&z"),
            ("https://a.b?x", "a.b", 443, "/?x"),
        ] {
            let url: HttpsUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path), "{text}");
            let again: HttpsUrl = url.to_string().parse().unwrap();
            assert_eq!(again, url, "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "a.b",
            "/directory",
            "http://a.b/",
            "ftp://a.b/",
            "https:///x",
            "https://:1/x",
            "https://a.b:/x",
            "https://a.b:0/x",
            "https://a.b:65536/x",
            "https://a.b:x/x",
            "https://user@a.b/",
            "https://user:pass@a.b/",
            "https://10.0.0.1/x",
            "https://[::1]/x",
            "https://a..b/",
            "https://a.b./",
            "https://-a.b/",
            "https://a_b.c/",
            "https://a.b/x y",
            "https://a.b/x\r\nHost: c",
            "https://a.b/#x",
            &format!("https://a.b/{}", "x".repeat(1024)),
        ] {
            assert!(text.parse::<HttpsUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_beside_another_has_its_host_and_port() {
        let here: HttpsUrl = "https://a.b/x".parse().unwrap();
        assert_eq!(here.beside("https://A.b:443/y?z").unwrap().to_string(), "https://a.b/y?z");
        for elsewhere in ["https://a.b:444/x", "https://a.b.c/x", "http://a.b/x", "/x", ""] {
            assert!(here.beside(elsewhere).is_none(), "{elsewhere}");
        }
    }
}
