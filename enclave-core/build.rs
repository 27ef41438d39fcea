//! Writes the table that `generator.rs` looks multiples of the generator up in, computed by k256.

use std::fmt::Write as _;
use std::{env, fs, io, path::Path};

use k256::ProjectivePoint;
use k256::elliptic_curve::BatchNormalize as _;
use k256::elliptic_curve::sec1::ToSec1Point as _;

/// Windows of six bits in 258 bits, and odd magnitudes below 64. `generator.rs` has the same numbers and says why.
const ROWS: usize = 43;
const ROW_POINTS: usize = 32;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("generator_table.rs"), table())
}

/// Row `i` holds `(2j + 1)·64ⁱ·G` for each `j`: the big-endian words of x, then those of y.
fn table() -> String {
    let mut text = String::from("[\n");
    let mut unit = ProjectivePoint::GENERATOR;
    for _ in 0..ROWS {
        let twice = unit.double();
        let mut multiple = unit - twice;
        let multiples = [(); ROW_POINTS].map(|()| {
            multiple += twice;
            multiple
        });
        text.push_str("[\n");
        for point in ProjectivePoint::batch_normalize(&multiples) {
            let sec1 = point.to_sec1_point(false);
            // The first byte says that both coordinates follow.
            let (words, _) = sec1.as_bytes()[1..].as_chunks();
            text.push('[');
            for word in words {
                let _ = write!(text, "{:#018x}, ", u64::from_be_bytes(*word));
            }
            text.push_str("],\n");
        }
        text.push_str("],\n");
        // The last entry is 63 times the unit.
        unit += multiple;
    }
    text.push_str("]\n");
    text
}
