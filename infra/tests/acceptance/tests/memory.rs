//! Traces of a secret in the signer's memory. Needs the right to read another process's memory: root, or the same user
//! where nothing forbids it.

use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use acceptance::attested::Parent;
use acceptance::bip340::{negated, public_key, random_scalar, x_only};
use acceptance::failure::{ensure, fail};
use acceptance::local_seal::seal;
use acceptance::process_memory::{Finding, Needle, environment_block, search, vm_flags};
use acceptance::signer::new_identity;
use acceptance::{Failure, Rows, Server};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// No part of memory is left out.
const NOTHING: Range<u64> = 0..0;

/// The forms of a key and of its negation, which is as good as the key.
fn forms_of_key(scalar: &[u8; 32]) -> Result<Vec<Needle>, Failure> {
    let mut needles = Needle::forms_of("d", scalar);
    needles.extend(Needle::forms_of("n - d", &negated(scalar)?));
    Ok(needles)
}

fn listed(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|f| format!("{} at {:#x} in {}", f.needle, f.address, f.mapping))
        .collect::<Vec<_>>()
        .join("\n")
}

fn none(findings: &[Finding]) -> Result<(), Failure> {
    ensure(findings.is_empty(), || listed(findings))
}

fn found(findings: &[Finding]) -> Result<(), Failure> {
    ensure(!findings.is_empty(), || {
        "not found while it is in use, so that the search proves nothing".to_owned()
    })
}

/// Imports `scalar`, signs with it, exports it, and provokes some failures around it.
fn use_key(server: &Server, identity: &str, scalar: &[u8; 32]) -> Result<(), Failure> {
    let mut signer = server.signer();
    let blob = seal(&server.secrets.sealing_key, scalar).blob();
    signer.imported(identity, &blob)?;
    signer.imported(identity, &blob)?;
    let public_key = public_key(scalar)?;
    for _ in 0..5 {
        signer.signs_under(identity, x_only(&public_key))?;
    }
    signer.exported(identity)?;
    signer.import(identity, &blob[1..]).is_error(500, acceptance::contract::UNABLE_TO_OPEN)
}

#[test]
fn a_destroyed_key_is_nowhere() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let pid = server.stack().enclave.pid();
    let mut rows = Rows::new("Memory, destroy");
    for n in 0..3 {
        let (identity, scalar) = (new_identity(), random_scalar());
        let needles = forms_of_key(&scalar)?;
        rows.check(format!("key {n}, before import"), search(pid, &needles, &NOTHING).and_then(|f| none(&f)));
        use_key(&server, &identity, &scalar)?;
        rows.check(format!("key {n}, in use"), search(pid, &needles, &NOTHING).and_then(|f| found(&f)));
        server.signer().destroyed(&identity)?;
        rows.check(format!("key {n}, destroyed"), search(pid, &needles, &NOTHING).and_then(|f| none(&f)));
    }
    rows.finish();
    Ok(())
}

#[test]
fn a_key_that_is_refused_is_nowhere() -> Result<(), Failure> {
    let mut server = Server::own(&["--max-keys", "1"]);
    let pid = server.stack().enclave.pid();
    let live = new_identity();
    server.signer().generated(&live)?;
    let mut rows = Rows::new("Memory, refused import");
    for (row, identity, status) in
        [("store full", new_identity(), 503), ("identity holds another key", live, 409)]
    {
        let scalar = random_scalar();
        let blob = seal(&server.secrets.sealing_key, &scalar).blob();
        let exchange = server.signer().import(&identity, &blob);
        let answered = exchange.response().map(|response| response.status)?;
        rows.check(row, ensure(answered == status, || format!("status {answered}")));
        let findings = search(pid, &forms_of_key(&scalar)?, &NOTHING)?;
        rows.check(format!("{row}, in memory"), none(&findings));
    }
    rows.finish();
    Ok(())
}

/// The secrets exist in memory that is locked and never dumped, and nowhere else.
fn is_locked(pid: Pid, needles: &[Needle], rows: &mut Rows) -> Result<(), Failure> {
    let findings = search(pid, needles, &NOTHING)?;
    found(&findings)?;
    for finding in &findings {
        let row = listed(std::slice::from_ref(finding));
        let flags = vm_flags(pid, finding.address)?;
        for (flag, meaning) in [("lo", "locked"), ("dd", "not dumped")] {
            rows.check(
                format!("{meaning}: {row}"),
                ensure(flags.iter().any(|f| f == flag), || format!("VmFlags: {}", flags.join(" "))),
            );
        }
    }
    Ok(())
}

/// With KMS, secrets come another way: through TLS, an RSA key and a CMS envelope, and leave under a data key.
#[test]
fn what_kms_gave_is_only_in_locked_memory() -> Result<(), Failure> {
    let parent = Parent::new()?;
    let (identity, scalar) = (new_identity(), random_scalar());
    let attested = parent.ready()?;
    let pid = attested.enclave.pid();
    let server = attested.server();
    let mut signer = server.signer();
    let backup = parent.kms.encrypt(&parent.key, &serde_json::json!({}), &scalar)?;
    let public_key = public_key(&scalar)?;
    for sealed_key in [format!("kms:{backup}"), String::new()] {
        let sealed_key = if sealed_key.is_empty() { signer.exported(&identity)? } else { sealed_key };
        signer.imported(&identity, &sealed_key)?;
        signer.signs_under(&identity, x_only(&public_key))?;
    }
    let mut rows = Rows::new("Memory, with KMS");
    is_locked(pid, &forms_of_key(&scalar)?, &mut rows)?;
    // Of this one only the state of its HMAC is kept.
    let ticket_secret = Needle::text("ticket secret", &parent.secrets.ticket_secret);
    rows.check("the ticket secret", search(pid, &[ticket_secret], &NOTHING).and_then(|f| none(&f)));
    signer.destroyed(&identity)?;
    rows.check("destroyed", search(pid, &forms_of_key(&scalar)?, &NOTHING).and_then(|f| none(&f)));
    rows.finish();
    Ok(())
}

#[test]
fn a_key_in_use_is_only_in_locked_memory_that_is_never_dumped() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let pid = server.stack().enclave.pid();
    let (identity, scalar) = (new_identity(), random_scalar());
    use_key(&server, &identity, &scalar)?;
    let mut rows = Rows::new("Memory, a key in use");
    is_locked(pid, &forms_of_key(&scalar)?, &mut rows)?;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let values: Vec<&str> = core.unwrap_or_default().split_whitespace().skip(4).take(2).collect();
    rows.check("no core file", ensure(values == ["1", "1"], || format!("{core:?}")));
    rows.finish();
    Ok(())
}

#[test]
fn at_its_end_the_process_holds_no_secret() -> Result<(), Failure> {
    let mut server = Server::own(&[]);
    let pid = server.stack().enclave.pid();
    let (identity, scalar) = (new_identity(), random_scalar());
    use_key(&server, &identity, &scalar)?;
    let key = forms_of_key(&scalar)?;
    let secrets = &server.secrets;
    let mut boot = Needle::forms_of("sealing key", &secrets.sealing_key);
    boot.push(Needle::text("ticket secret", &secrets.ticket_secret));
    // Not the API key: it comes in the head of every request, through buffers that are not wiped.
    // The kernel's copy of the start environment is not the program's: the production binary is
    // given its secrets otherwise. Copies the program made of it count.
    let environment = environment_block(pid)?;

    let mut rows = Rows::new("Memory, at exit");
    rows.check("key, in use", search(pid, &key, &NOTHING).and_then(|f| found(&f)));
    rows.check("boot secrets, in use", search(pid, &boot, &environment).and_then(|f| found(&f)));
    stop_at_exit(pid, &mut server)?;
    rows.check("key, at exit", search(pid, &key, &NOTHING).and_then(|f| none(&f)));
    rows.check("boot secrets, at exit", search(pid, &boot, &environment).and_then(|f| none(&f)));
    ptrace::cont(pid, None)?;
    let status = next_stop(pid, Duration::from_secs(10))?;
    rows.check("exit code", ensure(status == WaitStatus::Exited(pid, 0), || format!("{status:?}")));
    rows.finish();
    Ok(())
}

/// Sends SIGTERM and follows the process to the moment of its exit, with its memory still mapped.
fn stop_at_exit(pid: Pid, server: &mut Server) -> Result<(), Failure> {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT)
        .map_err(|e| Failure::new(format!("ptrace: {e}; run as root or as the owner")))?;
    server.stack().enclave.terminate()?;
    loop {
        match next_stop(pid, Duration::from_secs(15))? {
            WaitStatus::PtraceEvent(_, _, event) if event == ptrace::Event::PTRACE_EVENT_EXIT as i32 => {
                return Ok(());
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal)?,
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None)?,
            other => return fail(format!("it ended before it could be looked at: {other:?}")),
        }
    }
}

fn next_stop(pid: Pid, patience: Duration) -> Result<WaitStatus, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL))? {
            WaitStatus::StillAlive if Instant::now() > deadline => {
                return fail(format!("no stop and no end within {patience:?}"));
            }
            WaitStatus::StillAlive => std::thread::sleep(Duration::from_millis(5)),
            status => return Ok(status),
        }
    }
}
