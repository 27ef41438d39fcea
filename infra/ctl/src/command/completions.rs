//! `signerctl completions`

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Bash reads such a file when it first completes the command, zsh those of a folder in fpath, fish those of
~/.config/fish/completions.

Exit status: 0 printed, 64 wrong command line, 73 the output cannot be written.

Example:
  signerctl completions bash > ~/.local/share/bash-completion/completions/signerctl")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Prints the completion of `command`.
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "signerctl", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())
    }
}
