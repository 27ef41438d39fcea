//! A table of rows: all are tried, and those that fail are reported together.

use crate::Failure;

/// The rows of one table and what went wrong in them.
#[must_use = "call finish, or no row can fail the test"]
pub struct Rows {
    table: &'static str,
    tried: usize,
    failed: Vec<String>,
}

impl Rows {
    /// An empty table; `table` names the part of `docs/api.md` it stands for.
    pub fn new(table: &'static str) -> Self {
        Self { table, tried: 0, failed: Vec::new() }
    }

    /// Records the outcome of one row.
    pub fn check(&mut self, row: impl AsRef<str>, outcome: Result<(), Failure>) {
        self.tried += 1;
        if let Err(failure) = outcome {
            self.failed.push(format!("✗ {}\n{}", row.as_ref(), indent(&failure.to_string())));
        }
    }

    /// Fails the test when any row failed, or when the table turned out empty.
    pub fn finish(self) {
        assert!(self.tried > 0, "{}: no row was tried", self.table);
        assert!(
            self.failed.is_empty(),
            "{}: {} of {} rows failed\n\n{}\n",
            self.table,
            self.failed.len(),
            self.tried,
            self.failed.join("\n\n")
        );
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
