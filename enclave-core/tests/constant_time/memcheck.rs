//! The requests that a program can make of valgrind's memcheck while it runs under it. This is the one module here with
//! unsafe code: a request is a sequence of instructions that no program runs otherwise (valgrind.h, "amd64-linux").

#![allow(unsafe_code)]

use std::arch::asm;

/// `VG_USERREQ__RUNNING_ON_VALGRIND` of valgrind.h.
const RUNNING_ON_VALGRIND: usize = 0x1001;

/// `VG_USERREQ_TOOL_BASE('M', 'C')` of memcheck.h, from which its own requests are counted.
const MEMCHECK: usize = 0x4D43_0000;
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;
const GET_VBITS: usize = MEMCHECK + 8;

/// Makes memcheck report every branch and every address that depends on these bytes.
pub(crate) fn mark_secret(bytes: &mut [u8]) {
    request([MAKE_MEM_UNDEFINED, bytes.as_mut_ptr().expose_provenance(), bytes.len(), 0, 0, 0]);
    assert!(is_secret(bytes), "memcheck took the mark");
}

/// The opposite.
pub(crate) fn mark_public(bytes: &mut [u8]) {
    request([MAKE_MEM_DEFINED, bytes.as_mut_ptr().expose_provenance(), bytes.len(), 0, 0, 0]);
}

/// Whether any bit of these bytes depends on one that was marked.
pub(crate) fn is_secret(bytes: &[u8]) -> bool {
    let mut marks = vec![0_u8; bytes.len()];
    let done = request([
        GET_VBITS,
        bytes.as_ptr().expose_provenance(),
        marks.as_mut_ptr().expose_provenance(),
        bytes.len(),
        0,
        0,
    ]);
    assert_eq!(done, 1, "memcheck knows these bytes");
    marks.iter().any(|mark| *mark != 0)
}

/// Whether memcheck listens.
pub(crate) fn is_running() -> bool {
    request([RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) > 0
}

fn request(words: [usize; 6]) -> usize {
    let answer: usize;
    // SAFETY: outside valgrind the rotations add up to two whole turns of rdi and the exchange does nothing; inside, it
    // reads `words` and writes what they point to and rdx. The pointers are exposed, and memory is not said to be left
    // alone, so that the compiler reckons with both.
    unsafe {
        asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") words.as_ptr(), inout("rdx") 0_usize => answer, options(nostack)
        );
    }
    answer
}
