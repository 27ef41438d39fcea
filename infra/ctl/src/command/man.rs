//! `signerctl man`

use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man as Page;

use crate::failure::{EX_CANTCREAT, Failure, print, write};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 printed or written, 64 wrong command line, 73 a file or the output cannot be written.

Examples:
  signerctl man | man --local-file -
  signerctl man --output /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Writes a page for each command into this folder, instead of printing the first one
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Man {
    /// Prints or writes the pages of `command` and of those below it.
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        // Gives the commands below it their full names.
        command.build();
        let mut pages = Vec::new();
        collect(&command, &mut pages).map_err(|error| Failure::new(EX_CANTCREAT, error))?;
        match (&self.output, pages.first()) {
            (Some(folder), _) => pages.iter().try_for_each(|(name, text)| write(&folder.join(name), text)),
            (None, Some((_, text))) => print(String::from_utf8_lossy(text).trim_end()),
            (None, None) => Ok(()),
        }
    }
}

/// The names and texts of the pages, from the top down.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    // `help` prints the same as the pages.
    if command.get_name() == "help" {
        return Ok(());
    }
    let page = Page::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((page.get_filename(), text));
    command.get_subcommands().try_for_each(|subcommand| collect(subcommand, pages))
}
