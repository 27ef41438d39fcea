//! Wiping what a computation with secrets left on the stack.

/// Bytes overwritten below the caller's frame. That nothing goes deeper is shown by `tests/stack_hygiene.rs`, and for a
/// live signer by the scan of its memory in the acceptance tests, in debug and in release builds.
const BURN_BYTES: usize = 16 * 1024;

/// Runs `secret_work`, then overwrites the stack it used.
///
/// Multi-precision arithmetic leaves copies of scalars in dead stack frames, where a later read past a buffer's end
/// could find them. `secret_work` must not be inlined around its own callers' frames to be covered; it is called
/// through a frame of its own here.
pub fn with_burnt_stack<T>(secret_work: impl FnOnce() -> T) -> T {
    let result = in_own_frame(secret_work);
    burn();
    result
}

#[inline(never)]
fn in_own_frame<T>(secret_work: impl FnOnce() -> T) -> T {
    secret_work()
}

#[inline(never)]
fn burn() {
    let mut frame = [0_u8; BURN_BYTES];
    // The optimiser must believe that someone reads the zeros, or it writes none.
    core::hint::black_box(&mut frame);
}
