//! Measurements are read as by a second reader, or hold together; what is refused is told in one short line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verification::{ExpectedPcr, ExpectedPcrs, InvalidPcrs};

fuzz_target!(|text: &str| {
    check_line(text.parse::<ExpectedPcr>().map(|_| ()));
    let ours = ExpectedPcrs::from_text(text);
    if text.trim_start().starts_with('{') {
        let read = |pcrs: &ExpectedPcrs| pcrs.iter().map(|(index, value)| (index, value.to_vec())).collect();
        assert_eq!(ours.as_ref().ok().map(read), fuzz::verification::registers(text), "{ours:?}");
    }
    let pcrs = match ours {
        Ok(pcrs) => pcrs,
        Err(error) => return check_line(Err(error)),
    };
    let has = |index| pcrs.iter().any(|(other, _)| other == index);
    assert!(has(0) || has(1) && has(2) || has(8), "{pcrs:?}");
    assert!(pcrs.iter().all(|(_, value)| value.iter().any(|byte| *byte != 0)), "{pcrs:?}");
    let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let noted: String =
        pcrs.iter().map(|(index, value)| format!("PCR{index} = \"{}\"\n", hex(value))).collect();
    let again = ExpectedPcrs::from_nitro_toml(&format!("[pcr]\n{noted}")).expect("it was written so");
    assert!(again.iter().eq(pcrs.iter()), "{again:?}\n{pcrs:?}");
});

fn check_line(read: Result<(), InvalidPcrs>) {
    if let Err(error) = read {
        let line = error.to_string();
        assert!(line.len() < 200 && !line.contains(char::is_control), "{line:?}");
    }
}
