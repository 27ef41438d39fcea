//! Huge pages: those that the allocator reserves, and those that an enclave takes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A page of 1 GiB, the largest of x86 and ARM.
const LARGEST_PAGE_MIB: u32 = 1024;

/// A page of 2 MiB, the smallest huge page of x86. ARM has pages of 32 MiB too, which make a reservation fit no worse.
const SMALLEST_PAGE_MIB: u32 = 2;

/// Pages of one NUMA node: the size of a page in MiB to how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages(BTreeMap<u32, u32>);

/// Such as `1 x 1024 MiB + 256 x 2 MiB`.
impl fmt::Display for Pages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().rev().filter(|(_, count)| **count > 0).collect();
        if counts.is_empty() {
            return formatter.write_str("no pages");
        }
        for (place, (size_mib, count)) in counts.into_iter().enumerate() {
            let plus = if place == 0 { "" } else { " + " };
            write!(formatter, "{plus}{count} x {size_mib} MiB")?;
        }
        Ok(())
    }
}

impl Pages {
    /// These pages, as pairs of a size in MiB and a count.
    #[must_use]
    pub fn new<const N: usize>(counts: [(u32, u32); N]) -> Self {
        Self(counts.into_iter().filter(|(size_mib, _)| *size_mib > 0).collect())
    }

    /// The pages that the allocator reserves for `memory_mib`, which it rounds up to the smallest page: the largest
    /// first, as many as do not exceed it, and the rest in the smallest. A machine whose memory is in small pieces gets
    /// more small pages instead.
    #[must_use]
    pub fn reserved_for(memory_mib: u32) -> Self {
        let memory_mib = memory_mib.next_multiple_of(SMALLEST_PAGE_MIB);
        Self::new([
            (LARGEST_PAGE_MIB, memory_mib / LARGEST_PAGE_MIB),
            (SMALLEST_PAGE_MIB, memory_mib % LARGEST_PAGE_MIB / SMALLEST_PAGE_MIB),
        ])
    }

    /// Takes what nitro-cli takes for an enclave of `enclave_mib`: large pages while a whole one is still needed, then
    /// the smallest that cover the rest; small pages that turn out to be surplus go back. Returns false, and takes
    /// nothing, if the pages do not cover it.
    pub fn take(&mut self, enclave_mib: u32) -> bool {
        let mut left = self.0.clone();
        let mut needed_mib = enclave_mib;
        for (size_mib, count) in left.iter_mut().rev() {
            let whole = (needed_mib / size_mib).min(*count);
            *count -= whole;
            needed_mib -= whole * size_mib;
        }
        // The remaining need is less than any remaining page.
        let mut surplus_mib = 0;
        for (size_mib, count) in &mut left {
            if needed_mib == 0 {
                break;
            }
            if *count > 0 {
                *count -= 1;
                surplus_mib = size_mib.saturating_sub(needed_mib);
                needed_mib = needed_mib.saturating_sub(*size_mib);
            }
        }
        if needed_mib > 0 {
            return false;
        }
        for (size_mib, count) in left.iter_mut().rev() {
            let taken = self.0.get(size_mib).copied().unwrap_or_default() - *count;
            let returned = (surplus_mib / size_mib).min(taken);
            *count += returned;
            surplus_mib -= returned * size_mib;
        }
        self.0 = left;
        true
    }

    /// Whether `enclaves` of `enclave_mib` each start one after the other.
    #[must_use]
    pub fn fit(&self, enclaves: u32, enclave_mib: u32) -> bool {
        let mut pages = self.clone();
        (0..enclaves).all(|_| pages.take(enclave_mib))
    }

    /// Reads the pages of each NUMA node below `/sys/devices/system/node`: those that are reserved, and of them those
    /// that no enclave has.
    ///
    /// # Errors
    /// The system's, with a file that is no number as [`io::ErrorKind::InvalidData`].
    pub fn of_nodes(nodes: &Path) -> io::Result<Vec<NodePages>> {
        let mut found = Vec::new();
        for node in fs::read_dir(nodes)? {
            let node = node?;
            let name = node.file_name().to_string_lossy().into_owned();
            let is_node =
                name.strip_prefix("node").is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()));
            if !is_node {
                continue;
            }
            let (mut reserved, mut free) = (Self::default(), Self::default());
            for size in fs::read_dir(node.path().join("hugepages"))? {
                let size = size?;
                let name = size.file_name().to_string_lossy().into_owned();
                let size_kib = name.strip_prefix("hugepages-").and_then(|it| it.strip_suffix("kB"));
                let size_kib: u32 =
                    size_kib.and_then(|it| it.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
                // Pages of 64 KiB on ARM are none that the allocator counts in MiB.
                let size_mib = size_kib / 1024;
                if size_mib == 0 {
                    continue;
                }
                reserved.0.insert(size_mib, number_in(&size.path().join("nr_hugepages"))?);
                free.0.insert(size_mib, number_in(&size.path().join("free_hugepages"))?);
            }
            found.push(NodePages { name, reserved, free });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }
}

/// The pages of a NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePages {
    /// Such as `node0`.
    pub name: String,
    /// All that are reserved.
    pub reserved: Pages,
    /// Those of them that no enclave has.
    pub free: Pages,
}

fn number_in(path: &Path) -> io::Result<u32> {
    fs::read_to_string(path)?.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The smallest `memory_mib`, from `at_least_mib` on, in whose pages `enclaves` of `enclave_mib` each start one after
/// the other.
#[must_use]
pub fn smallest_reservation_mib(enclaves: u32, enclave_mib: u32, at_least_mib: u32) -> u32 {
    // A whole number of the largest pages for each always fits.
    let enough_mib = enclave_mib.div_ceil(LARGEST_PAGE_MIB) * LARGEST_PAGE_MIB * enclaves;
    let start_mib = at_least_mib.max(enclave_mib * enclaves).next_multiple_of(SMALLEST_PAGE_MIB);
    let step = usize::try_from(SMALLEST_PAGE_MIB).unwrap_or(1);
    (start_mib..enough_mib)
        .step_by(step)
        .find(|memory_mib| Pages::reserved_for(*memory_mib).fit(enclaves, enclave_mib))
        .unwrap_or_else(|| enough_mib.max(start_mib))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Pages, smallest_reservation_mib};

    #[test]
    fn the_largest_pages_are_reserved_first() {
        for (memory_mib, pages) in [
            (512, "256 x 2 MiB"),
            (1024, "1 x 1024 MiB"),
            (1536, "1 x 1024 MiB + 256 x 2 MiB"),
            (4096, "4 x 1024 MiB"),
            (513, "257 x 2 MiB"),
            (1023, "1 x 1024 MiB"),
        ] {
            assert_eq!(Pages::reserved_for(memory_mib).to_string(), pages);
        }
    }

    #[test]
    fn an_enclave_takes_whole_pages() {
        for (reserved_mib, enclave_mib, left) in [
            (1024, 512, "no pages"),
            (1024, 756, "no pages"),
            (1024, 256, "no pages"),
            (1536, 512, "1 x 1024 MiB"),
            (512, 512, "no pages"),
            (1536, 1024, "256 x 2 MiB"),
            // 200 MiB of small pages do not help, and go back.
            (1224, 756, "100 x 2 MiB"),
        ] {
            let mut pages = Pages::reserved_for(reserved_mib);
            assert!(pages.take(enclave_mib), "{enclave_mib} of {reserved_mib}");
            assert_eq!(pages.to_string(), left, "{enclave_mib} of {reserved_mib}");
        }
    }

    #[test]
    fn pages_that_are_not_enough_stay() {
        let mut pages = Pages::reserved_for(1536);
        assert!(!pages.take(1538));
        assert_eq!(pages, Pages::reserved_for(1536));
    }

    #[test]
    fn two_enclaves_of_512_mib_need_more_than_one_page_of_1_gib() {
        assert!(!Pages::reserved_for(1024).fit(2, 512));
        assert!(Pages::reserved_for(1536).fit(2, 512));
        assert!(Pages::reserved_for(2048).fit(2, 512));
    }

    #[test]
    fn the_smallest_reservation_fits_and_none_below_it_does() {
        for (enclaves, enclave_mib, smallest_mib) in
            [(1, 512, 512), (2, 512, 1536), (3, 512, 2560), (2, 756, 1780), (2, 1024, 2048), (1, 1500, 1500)]
        {
            let found_mib = smallest_reservation_mib(enclaves, enclave_mib, 0);
            assert_eq!(found_mib, smallest_mib, "{enclaves} of {enclave_mib}");
            assert!(Pages::reserved_for(found_mib).fit(enclaves, enclave_mib));
            // One less is the same pages.
            assert!((1..found_mib - 1).all(|less| !Pages::reserved_for(less).fit(enclaves, enclave_mib)));
        }
        // A larger reservation may fit fewer, and the next that fits is taken.
        assert_eq!(smallest_reservation_mib(2, 512, 1538), 1538);
        assert_eq!(smallest_reservation_mib(3, 512, 2048), 2560);
        assert_eq!(smallest_reservation_mib(1, 512, 8192), 8192);
    }

    #[test]
    fn pages_are_read_from_the_system() {
        let folder = tempfile::tempdir().unwrap();
        for (size, reserved, free) in
            [("hugepages-2048kB", "256\n", "0\n"), ("hugepages-1048576kB", "1\n", "1\n")]
        {
            let size = folder.path().join("node0/hugepages").join(size);
            fs::create_dir_all(&size).unwrap();
            fs::write(size.join("nr_hugepages"), reserved).unwrap();
            fs::write(size.join("free_hugepages"), free).unwrap();
        }
        fs::write(folder.path().join("online"), "0\n").unwrap();
        let nodes = Pages::of_nodes(folder.path()).unwrap();
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].name, "node0");
        assert_eq!(nodes[0].reserved.to_string(), "1 x 1024 MiB + 256 x 2 MiB");
        assert_eq!(nodes[0].free.to_string(), "1 x 1024 MiB");
        fs::write(folder.path().join("node0/hugepages/hugepages-2048kB/free_hugepages"), "<html>").unwrap();
        assert!(Pages::of_nodes(folder.path()).is_err());
        assert!(Pages::of_nodes(&folder.path().join("none")).is_err());
    }
}
