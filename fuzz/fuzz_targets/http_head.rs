//! `httparse` reads every head that the gate accepts, to the same byte. No split of the input changes a verdict.

#![no_main]

use enclave_runtime::http::head_gate::{
    BodyError, ChunkedFraming, Framing, HeadError, HeadScan, MAX_HEAD_BYTES, inspect_head,
};
use fuzz::head;
use libfuzzer_sys::fuzz_target;

/// Sizes of the pieces that input comes in, the whole apart.
const PIECES: [usize; 4] = [1, 2, 3, 7];

fuzz_target!(|data: &[u8]| {
    check_chunked(data);
    let whole = scan(data, data.len());
    for piece in PIECES {
        assert_eq!(scan(data, piece), whole, "in pieces of {piece}");
    }
    let Ok(Some(end)) = whole else {
        assert!(inspect_head(data).is_err(), "a head without an end");
        return;
    };
    let (head, body) = data.split_at(end);
    assert_eq!(inspect_head(data).is_ok(), body.is_empty() && inspect_head(head).is_ok());
    let Ok(framing) = inspect_head(head) else { return };
    assert!(head.len() <= MAX_HEAD_BYTES);
    assert_eq!(head::framing(head), Ok(framing));
    if framing == Framing::Chunked {
        check_chunked(body);
    }
});

fn scan(data: &[u8], piece: usize) -> Result<Option<usize>, HeadError> {
    let mut scan = HeadScan::new();
    let mut seen = 0;
    for bytes in data.chunks(piece.max(1)) {
        if let Some(end) = scan.advance(bytes)? {
            assert_eq!(scan.scanned_bytes(), seen + end);
            return Ok(Some(seen + end));
        }
        seen += bytes.len();
    }
    Ok(None)
}

fn check_chunked(body: &[u8]) {
    let whole = frame(body, body.len());
    for piece in PIECES {
        assert_eq!(frame(body, piece), whole, "in pieces of {piece}");
    }
    if let Ok((taken, true)) = whole {
        assert_eq!(head::chunked_length(body), Ok(taken));
    }
}

/// How many bytes belong to the body, and whether it is complete; or its error, and where.
fn frame(body: &[u8], piece: usize) -> Result<(usize, bool), (usize, BodyError)> {
    let mut framing = ChunkedFraming::new();
    let mut taken = 0;
    for bytes in body.chunks(piece.max(1)) {
        let mut rest = bytes;
        while !rest.is_empty() && !framing.is_complete() {
            let some = framing.advance(rest).map_err(|error| {
                assert_eq!(framing.advance(rest), Err(error), "the same again when called again");
                (taken, error)
            })?;
            assert!(some > 0, "a call takes a byte or tells the error");
            taken += some;
            rest = &rest[some..];
        }
    }
    Ok((taken, framing.is_complete()))
}
