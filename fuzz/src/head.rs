//! Request heads and chunked bodies as `httparse` reads them.

use enclave_runtime::http::head_gate::{Framing, MAX_HEADERS};
use httparse::{EMPTY_HEADER, Request, Status};

/// The framing that the fields of an accepted head declare, or what keeps another parser from agreeing with it.
///
/// # Errors
/// The error, for the report.
pub fn framing(head: &[u8]) -> Result<Framing, &'static str> {
    let mut fields = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut fields);
    if request.parse(head) != Ok(Status::Complete(head.len())) {
        return Err("not parsed to its end");
    }
    let values = |name: &str| -> Vec<&[u8]> {
        request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect()
    };
    match (request.version, &values("host")[..]) {
        (Some(1), [_]) | (Some(0), [] | [_]) => {}
        _ => return Err("host"),
    }
    match (&values("transfer-encoding")[..], &values("content-length")[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [length]) if length.iter().all(u8::is_ascii_digit) => std::str::from_utf8(length)
            .ok()
            .and_then(|length| length.parse().ok())
            .map(Framing::Length)
            .ok_or("content-length"),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => {
            Ok(Framing::Chunked)
        }
        _ => Err("framing"),
    }
}

/// How many bytes a chunked body takes, its trailers included.
///
/// # Errors
/// The error, for the report.
pub fn chunked_length(body: &[u8]) -> Result<usize, &'static str> {
    let mut rest = body;
    loop {
        let Ok(Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            return Err("size line");
        };
        rest = &rest[line..];
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| "size")?;
        rest = rest.get(size..).ok_or("data")?.strip_prefix(b"\r\n").ok_or("end of data")?;
    }
    let Ok(Status::Complete((trailers, _))) = httparse::parse_headers(rest, &mut [EMPTY_HEADER; MAX_HEADERS])
    else {
        return Err("trailers");
    };
    Ok(body.len() - rest.len() + trailers)
}
