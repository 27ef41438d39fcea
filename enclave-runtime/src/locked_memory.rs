//! Memory for keys: never swapped, never in a core dump. The one module of this crate with unsafe code, because the
//! kernel's calls for memory are unsafe.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous};

/// The kernel did not give, lock or hide the memory.
#[derive(Debug)]
pub struct MemoryNotLocked {
    /// How much was asked for.
    pub bytes: usize,
    /// Why not.
    pub errno: nix::Error,
}

impl std::fmt::Display for MemoryNotLocked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, errno } = self;
        let mib = bytes.div_ceil(1024 * 1024);
        write!(
            formatter,
            "cannot lock {mib} MiB of key memory: {}; hold fewer keys or raise the limit (`ulimit -l`, LimitMEMLOCK=)",
            errno.desc()
        )
    }
}

impl std::error::Error for MemoryNotLocked {}

/// Makes `count` values in pages of their own, for as long as the process lives.
///
/// The pages are locked (mlock(2)), left out of core dumps (`MADV_DONTDUMP`) and not given to a child
/// (`MADV_DONTFORK`). The values are never dropped: the borrower wipes them.
///
/// # Errors
/// [`MemoryNotLocked`]
pub(crate) fn leak_locked<T: 'static>(
    count: usize,
    mut vacant: impl FnMut() -> T,
) -> Result<&'static mut [T], MemoryNotLocked> {
    const {
        assert!(align_of::<T>() <= 4096, "a page is as aligned as it gets");
        assert!(size_of::<T>() > 0, "the kernel maps no empty pages");
    }
    let not_locked = |bytes, errno| MemoryNotLocked { bytes, errno };
    let bytes = count.checked_mul(size_of::<T>()).ok_or(not_locked(usize::MAX, nix::Error::ENOMEM))?;
    let Some(length) = NonZeroUsize::new(bytes) else { return Ok(&mut []) };

    // SAFETY: an anonymous private mapping at an address of the kernel's choice replaces no memory in use.
    let pages = unsafe {
        mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
    }
    .map_err(|errno| not_locked(bytes, errno))?;
    // SAFETY: `pages..pages + length` was just mapped, and locking it or advising on it changes no byte of it.
    unsafe {
        mlock(pages, bytes)
            .and_then(|()| madvise(pages, bytes, MmapAdvise::MADV_DONTDUMP))
            .and_then(|()| madvise(pages, bytes, MmapAdvise::MADV_DONTFORK))
    }
    .map_err(|errno| not_locked(bytes, errno))?;

    let first: NonNull<T> = pages.cast();
    for index in 0..count {
        // SAFETY: `index < count`, so the place lies within the mapping of `count * size_of::<T>()` bytes; it is
        // writable, and aligned because the mapping starts on a page and `T` asks for no more than that.
        unsafe { first.add(index).write(vacant()) };
    }
    // SAFETY: `count` values were written from `first` on, nothing else points to them, and the mapping is never
    // unmapped, so the unique borrow may be `'static`. Its size fits in `isize` because the kernel mapped it.
    Ok(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), count) })
}

#[cfg(test)]
mod tests {
    use super::leak_locked;

    /// The flags that the kernel reports of the mapping that holds `address` (proc(5), smaps).
    fn vm_flags(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in smaps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((start, end)) = range
                && let (Ok(start), Ok(end)) =
                    (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
            {
                here = (start..end).contains(&address);
            }
            if here && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.to_owned();
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn pages_are_locked_and_kept_out_of_dumps_and_children() {
        let numbers = leak_locked(1000, || 7_u64).unwrap();
        assert!(numbers.iter().all(|number| *number == 7));
        numbers[999] = 8;
        let flags = vm_flags(std::ptr::from_ref(&numbers[999]).addr());
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.split_whitespace().any(|set| set == flag), "{flag} in {flags}");
        }
    }

    #[test]
    fn nothing_takes_no_memory() {
        assert!(leak_locked(0, || 7_u64).unwrap().is_empty());
    }

    #[test]
    fn too_much_is_an_error_and_not_an_abort() {
        let error = leak_locked(usize::MAX / 16, || 7_u64).unwrap_err();
        assert!(error.to_string().starts_with("cannot lock "), "{error}");
        assert!(leak_locked(usize::MAX, || 7_u64).is_err());
    }
}
