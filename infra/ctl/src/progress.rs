//! The progress of long work, on standard error: a bar on a terminal, else a line now and then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal: a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    unit: &'static str,
    last_line: Option<Instant>,
}

impl Progress {
    /// Of `total` things, so many of which were done before.
    pub(crate) fn new(total: u64, done_before: u64, unit: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(&format!(
                "{{bar:40}} {{pos}} of {{len}} {unit}, {{eta}} left{{msg}}"
            ));
            let bar = ProgressBar::new(total).with_style(style.unwrap_or(ProgressStyle::default_bar()));
            bar.set_position(done_before);
            bar.reset_eta();
            bar
        });
        Self { bar, total, unit, last_line: None }
    }

    /// Shows it, if it is time to.
    pub(crate) fn show(&mut self, done: u64, failed: u64) {
        let failures = if failed == 0 { String::new() } else { format!(", {failed} failed") };
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(failures);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            self.last_line = Some(Instant::now());
            // The reader may be gone. The work goes on.
            let _ = writeln!(io::stderr(), "signerctl: {done} of {} {}{failures}", self.total, self.unit);
        }
    }

    /// Says something in between.
    pub(crate) fn say(&self, line: &str) {
        let say = || drop(writeln!(io::stderr(), "signerctl: {line}"));
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
