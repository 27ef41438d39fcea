//! An address prints as the text that it was parsed from.

#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::Address;

fuzz_target!(|text: &str| {
    let Ok(address) = text.parse::<Address>() else { return };
    let printed = address.to_string();
    assert_eq!(printed.parse(), Ok(address), "{printed:?}");
    // Only an IPv6 address has a second spelling.
    assert!(printed == text || text.starts_with("tcp:["), "{printed:?}");
    // A line of a log or of a configuration cannot be forged with it.
    assert!(!printed.contains(char::is_control), "{printed:?}");
});
