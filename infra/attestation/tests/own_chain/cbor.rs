//! Writes CBOR, each item in its shortest spelling.

pub(crate) fn uint(value: u64) -> Vec<u8> {
    head(0, value)
}

pub(crate) fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Vec<u8> {
    [head(3, value.len() as u64), value.as_bytes().to_vec()].concat()
}

pub(crate) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

pub(crate) fn map(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let items = pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]);
    [head(5, pairs.len() as u64), items.collect::<Vec<_>>().concat()].concat()
}

pub(crate) const NULL: [u8; 1] = [0xf6];

fn head(major: u8, value: u64) -> Vec<u8> {
    let major = major << 5;
    let bytes = value.to_be_bytes();
    match value {
        0..0x18 => vec![major | bytes[7]],
        0x18..0x100 => vec![major | 0x18, bytes[7]],
        0x100..0x1_0000 => [&[major | 0x19], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 0x1a], &bytes[4..]].concat(),
        _ => [&[major | 0x1b], &bytes[..]].concat(),
    }
}
