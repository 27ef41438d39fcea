//! How many tests a log tells of.

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    /// Sums what libtest reports (`test result: ok. 12 passed; 0 failed; 1 ignored; …`) and the lines in which our
    /// scripts report a check (`ok: …`).
    pub(crate) fn of_log(log: &str) -> Self {
        let mut counts = Self::default();
        for line in log.lines() {
            if line.starts_with("ok: ") {
                counts.passed += 1;
            } else if let Some((_, result)) =
                line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
            {
                for part in result.split("; ") {
                    match part
                        .split_once(' ')
                        .and_then(|(number, what)| Some((number.parse::<u64>().ok()?, what)))
                    {
                        Some((number, "passed")) => counts.passed += number,
                        Some((number, "failed")) => counts.failed += number,
                        Some((number, "ignored")) => counts.ignored += number,
                        _ => {}
                    }
                }
            }
        }
        counts
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_libtest_and_of_scripts_are_summed() {
        let log = "running 3 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            ok: the image is small\nnot ok: this is no check\n";
        assert_eq!(Counts::of_log(log), Counts { passed: 3, failed: 1, ignored: 1 });
    }

    #[test]
    fn other_lines_count_nothing() {
        for log in ["", "test result: ok", "test result: ok. x passed; 1 of 2", "testing ok: no"] {
            assert_eq!(Counts::of_log(log), Counts::default(), "{log}");
        }
    }
}
