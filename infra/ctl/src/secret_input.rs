//! The sources of secrets: a file, a variable, a pipe, or the keyboard. Never an argument, which every process of the
//! machine can read.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::failure::{EX_DATAERR, EX_NOINPUT, EX_USAGE, Failure};

/// The longest boot secret, which is the longest secret, and a line break.
const MAX_SECRET_BYTES: usize = 16 * 1024;

/// Added to the number of a signal, as shells report it.
const ENDED_BY_SIGNAL: u8 = 128;

/// The disabled value of a control character (`_POSIX_VDISABLE`).
const NO_CHARACTER: u8 = 0;

/// Reads a secret from the file, or else the variable. `what` is its name in a sentence, and `flag` names the file.
pub(crate) fn from_file_or_variable(
    path: Option<&Path>,
    flag: &str,
    variable: &str,
    what: &str,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(path) = path else {
        let value = std::env::var(variable).map_err(|_| {
            Failure::new(EX_USAGE, format_args!("no {what}: set {variable}, or name a file with {flag}"))
        })?;
        return Ok(Zeroizing::new(value.into_bytes()));
    };
    let file = File::open(path).map_err(|error| Failure::of_file(EX_NOINPUT, path, error))?;
    let secret = read(file).map_err(|error| Failure::of_file(EX_NOINPUT, path, error))?;
    secret.ok_or_else(|| Failure::of_file(EX_DATAERR, path, too_long()))
}

/// Reads a secret from standard input: to its end, or, if it is a text and this a terminal, twice and unseen.
pub(crate) async fn from_stdin(what: &str, is_text: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !io::stdin().is_terminal() {
        let read = if is_text { read } else { read_bytes };
        let secret = stdin().and_then(read).map_err(|error| Failure::new(EX_NOINPUT, error))?;
        return secret.ok_or_else(|| Failure::new(EX_DATAERR, format_args!("{what}: {}", too_long())));
    }
    if !is_text {
        return Err(Failure::new(EX_USAGE, format_args!("{what} is no line to type: give its file by <")));
    }
    let first = ask(&format!("{what}: ")).await?;
    let second = ask(&format!("{what}, again: ")).await?;
    end_on_signals().map_err(terminal_error)?;
    // Both come from the same person, so the time of this comparison reveals nothing.
    if *first == *second { Ok(first) } else { Err(Failure::new(EX_DATAERR, "the two are not the same")) }
}

fn too_long() -> String {
    format!("longer than {MAX_SECRET_BYTES} bytes")
}

/// Past the buffer of the standard library, which is not wiped.
fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Reads to the end, and takes one line break off it: no secret ends in one, and most programs print one. `None` if it
/// is too long.
fn read(source: File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut secret = read_bytes(source)?;
    if let Some(bytes) = &mut secret
        && bytes.ends_with(b"\n")
    {
        bytes.pop();
    }
    Ok(secret)
}

/// Reads to the end. `None` if it is too long.
fn read_bytes(source: File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Of its final size at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    source.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_SECRET_BYTES).then_some(bytes))
}

/// The signals that end a process, and that a terminal sends or its end.
fn ending_signals() -> [SignalKind; 4] {
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()]
}

/// The exit status of a process that this signal ended.
fn ended_by(kind: SignalKind) -> u8 {
    ENDED_BY_SIGNAL + u8::try_from(kind.as_raw_value()).unwrap_or_default()
}

/// Lets signals end the process again, which they do not by themselves once somebody has waited for them.
fn end_on_signals() -> io::Result<()> {
    for kind in ending_signals() {
        let mut signal = signal(kind)?;
        tokio::spawn(async move {
            signal.recv().await;
            std::process::exit(ended_by(kind).into());
        });
    }
    Ok(())
}

fn terminal_error(error: io::Error) -> Failure {
    Failure::new(EX_NOINPUT, format_args!("the terminal: {error}"))
}

/// Asks for one line on the terminal.
async fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let cannot = terminal_error;
    // Before the echo goes, so that none of these ends the process without it.
    let mut signals = Vec::new();
    for kind in ending_signals() {
        signals.push((kind, signal(kind).map_err(cannot)?));
    }
    let silence = Silence::of_stdin().map_err(cannot)?;
    let _ = write!(io::stderr(), "{question}");
    let (sender, line) = oneshot::channel();
    // A thread without a join: it may wait for a key that never comes.
    thread::spawn(move || {
        let _ = sender.send(stdin().and_then(read_line));
    });
    let [interrupt, terminate, hangup, quit] = &mut signals[..] else {
        return Err(cannot(io::Error::other("no signals")));
    };
    let kind = tokio::select! {
        line = line => {
            drop(silence);
            let _ = writeln!(io::stderr());
            let line = line.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into())).map_err(cannot)?;
            return line.ok_or_else(|| Failure::new(EX_DATAERR, too_long()));
        }
        _ = interrupt.1.recv() => interrupt.0,
        _ = terminate.1.recv() => terminate.0,
        _ = hangup.1.recv() => hangup.0,
        _ = quit.1.recv() => quit.0,
    };
    drop(silence);
    let _ = writeln!(io::stderr());
    Err(Failure::new(ended_by(kind), "stopped"))
}

/// Reads up to a line break.
fn read_line(mut source: File) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(vec![0; MAX_SECRET_BYTES + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match source.read(&mut bytes[length..])? {
            0 if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => break,
            read => length += read,
        }
        if bytes[..length].ends_with(b"\n") {
            bytes.truncate(length - 1);
            return Ok(Some(bytes));
        }
    }
    if length == bytes.len() {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// A terminal that hides typed text until this is dropped.
struct Silence(Termios);

impl Silence {
    fn of_stdin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        // A stopped process would leave its terminal to the shell as it is.
        silent.control_chars[SpecialCharacterIndices::VSUSP as usize] = NO_CHARACTER;
        // Text that was typed before the question is no answer to it.
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // No one is left to read an error.
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}
