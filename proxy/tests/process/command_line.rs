//! Command lines that are refused before and while binding.

use std::net::TcpListener;

use crate::backend::Place;
use crate::running_proxy::{RunningProxy, run};

#[test]
fn an_address_in_use_is_named_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", taken.local_addr().unwrap());
    let place = Place::new();
    let free = format!("unix:{}", place.socket().display());
    let (code, stdout, stderr) =
        run(&["--route", &format!("{free}=unix:/nowhere"), "--route", &format!("{address}=unix:/nowhere")]);
    assert_eq!(code, 69);
    assert_eq!(stdout, "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with(&format!("proxy: cannot listen on {address}: ")));
    assert!(stderr.to_lowercase().contains("address already in use"), "{stderr}");
    assert!(!place.socket().exists(), "what was bound first is released");
}

#[test]
fn any_unbindable_address_is_named() {
    let place = Place::new();
    let file = place.directory().join("precious");
    std::fs::write(&file, "data").unwrap();
    let (file, missing) =
        (format!("unix:{}", file.display()), format!("unix:{}/missing/a.sock", place.directory().display()));
    for address in [file.as_str(), missing.as_str(), "tcp:192.0.2.1:7001", "vsock:4294967294:8000"] {
        let route = format!("{address}=unix:/nowhere");
        let (code, _, stderr) = run(&["--route", &route]);
        assert_eq!(code, 69);
        assert!(stderr.contains(&format!("cannot listen on {address}: ")), "{stderr}");
        let (code, _, stderr) = run(&["--route", "tcp:127.0.0.1:0=unix:/a", "--admin", address]);
        assert_eq!(code, 69);
        assert!(stderr.contains(&format!("cannot listen on {address}: ")), "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_binds_nothing() {
    let place = Place::new();
    let good = format!("unix:{}=unix:/nowhere", place.socket().display());
    for wrong in [
        &["--route", "tcp:127.0.0.1:0"][..],
        &["--route", "tcp:127.0.0.1:70000=unix:/a"],
        &["--route", "udp:127.0.0.1:1=unix:/a"],
        &["--route", "tcp:localhost:0=unix:/a"],
        &["--route", "tcp:127.0.0.1:0=unix:relative"],
        &["--route", &good],
        &["--max-connections", "0"],
        &["--max-connections-per-source", "0"],
        // Its only route has no clients with an address.
        &["--proxy-protocol"],
        &["--dial-timeout-ms", "soon"],
        &["--unknown"],
        &["stray"],
    ] {
        let (code, stdout, stderr) = run(&[&["--route", &good], wrong].concat());
        assert_eq!(code, 64, "{wrong:?}");
        assert_eq!(stdout, "");
        assert_ne!(stderr, "");
        assert!(!place.socket().exists());
    }
    assert_eq!(run(&[]).0, 64);
}

#[test]
fn help_names_every_option_with_its_default() {
    let (code, stdout, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for text in [
        "--route <LISTEN=DIAL>",
        "--max-connections <N>",
        "[default: 2048]",
        "--max-connections-per-source <N|off>",
        "--proxy-protocol",
        "--dial-timeout-ms <MS>",
        "[default: 900]",
        "--progress-timeout-s <S>",
        "--idle-timeout-s <S>",
        "[default: 90]",
        "--drain-timeout-s <S>",
        "[default: 10]",
        "--admin <ADDRESS>",
        "Example:",
        "milliseconds",
    ] {
        assert!(stdout.contains(text), "{text} is not in\n{stdout}");
    }
}

#[test]
fn each_route_is_announced_with_its_real_port() {
    let proxy = RunningProxy::start(&[
        "--route",
        "tcp:127.0.0.1:0=unix:/nowhere",
        "--route",
        "tcp:127.0.0.1:0=vsock:16:5000",
        "--admin",
        "tcp:127.0.0.1:0",
    ]);
    let ports = [proxy.port(0), proxy.port(1), proxy.port(2)];
    assert!(!ports.contains(&0));
    assert_eq!(
        proxy.announced,
        [
            format!("proxy: listening on tcp:127.0.0.1:{}, dialing unix:/nowhere", ports[0]),
            format!("proxy: listening on tcp:127.0.0.1:{}, dialing vsock:16:5000", ports[1]),
            format!("proxy: admin on tcp:127.0.0.1:{}", ports[2]),
        ]
    );
}
