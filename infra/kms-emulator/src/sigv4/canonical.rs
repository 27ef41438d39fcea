//! The text whose hash is signed.

use hyper::http::request::Parts;

/// The canonical request; `None` when a header is missing, not text, or not in its place.
///
/// For requests whose path is `/` and that have no query, which are all that KMS knows: nothing is decoded, encoded
/// or sorted.
pub(crate) fn canonical_request(parts: &Parts, signed_headers: &str, payload_hash: &str) -> Option<String> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    if !names.is_sorted_by(|earlier, later| earlier < later) {
        return None;
    }
    let mut text = format!("{}\n{}\n\n", parts.method, parts.uri.path());
    for name in names {
        let values: Option<Vec<String>> =
            parts.headers.get_all(name).iter().map(|value| Some(trimmed(value.to_str().ok()?))).collect();
        let values = values.filter(|values| !values.is_empty())?;
        text.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    text.push_str(&format!("\n{signed_headers}\n{payload_hash}"));
    Some(text)
}

/// Without spaces around it, and with one for several in between.
fn trimmed(value: &str) -> String {
    value.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
