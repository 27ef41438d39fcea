//! The parent's proxy replaces a file with exactly the bytes whose length was announced.

#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use proxy::{REPLACEMENT_MAX_BYTES, receive_replacement};

/// The bytes after `x` are repeated so many times, so that a short input reaches the limit.
const TIMES: usize = 1024;

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Some((b'x', data)) = data.split_first() {
        let (length, content) = data.split_at(data.len().min(4));
        check(&[length, &content.repeat(TIMES)].concat());
    }
});

fn check(sent: &[u8]) {
    let mut left = sent;
    let received = match pin!(receive_replacement(&mut left)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(received) => received,
        Poll::Pending => panic!("waits, where nothing more comes"),
    };
    let judged = sent.split_first_chunk().and_then(|(length, content)| {
        let length = u32::from_be_bytes(*length) as usize;
        (length as u64 <= REPLACEMENT_MAX_BYTES).then(|| content.split_at_checked(length))?
    });
    match (received, judged) {
        (Ok(content), Some((judged, behind))) => {
            assert_eq!((&*content, left), (judged, behind));
            // A buffer that doubles when less than 32 bytes of it are free.
            assert!(content.capacity() <= (content.len() + 32) * 2, "memory for what was not sent");
        }
        (Err(reason), None) => {
            assert!(reason.len() < 100 && !reason.contains(char::is_control), "{reason:?}");
        }
        (received, judged) => panic!("{received:?}, and not {judged:?}"),
    }
}
