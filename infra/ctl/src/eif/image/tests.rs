use super::{CRC, HEADER_BYTES, Image, MAX_CMDLINE_BYTES, MalformedImage, OFFSETS, SIZES, checksum};

fn image() -> Image<'static> {
    Image {
        is_arm64: false,
        kernel: b"kernel",
        cmdline: b"console=ttyS0",
        metadata: Some(b"{}"),
        ramdisks: vec![b"bootstrap", b"application"],
        signature: Some(b"signature"),
    }
}

/// With a checksum that fits again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), MalformedImage> {
    let mut bytes = image().write().unwrap();
    change(&mut bytes);
    if bytes.len() >= HEADER_BYTES {
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_be_bytes());
    }
    Image::read(&bytes).map(|_| ())
}

#[test]
fn what_is_written_is_read() {
    for arm in [false, true] {
        for metadata in [None, Some(&b"{}"[..])] {
            for signature in [None, Some(&b"s"[..])] {
                let image = Image { is_arm64: arm, metadata, signature, ..image() };
                assert_eq!(Image::read(&image.write().unwrap()).as_ref(), Ok(&image));
            }
        }
    }
}

#[test]
fn every_bit_and_every_length_counts() {
    let bytes = image().write().unwrap();
    for index in 0..bytes.len() {
        Image::read(&bytes[..index]).unwrap_err();
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[index] ^= 1 << bit;
            Image::read(&bent).unwrap_err();
        }
    }
    Image::read(&[&bytes[..], b"x"].concat()).unwrap_err();
}

#[test]
fn a_checksum_that_fits_does_not_help() {
    use MalformedImage as E;
    let first_section = HEADER_BYTES;
    assert_eq!(changed(|_| ()), Ok(()));
    assert_eq!(changed(|it| it[0] = b'x'), Err(E::NotAnImage));
    assert_eq!(changed(|it| it[5] = 3), Err(E::Version(3)));
    assert_eq!(changed(|it| it[7] = 2), Err(E::Header), "unknown flag");
    assert_eq!(changed(|it| it[27] = 33), Err(E::Header), "too many sections");
    assert_eq!(changed(|it| it[27] = 7), Err(E::Length), "one section more");
    assert_eq!(changed(|it| it[27] = 5), Err(E::Length), "one section less");
    assert_eq!(changed(|it| it[OFFSETS + 7] ^= 1), Err(E::Header));
    assert_eq!(changed(|it| it[SIZES + 7] ^= 1), Err(E::Header));
    assert_eq!(changed(|it| it[SIZES + 8 * 31 + 7] = 1), Err(E::Header), "of a section that is not there");
    assert_eq!(changed(|it| it[first_section + 1] = 6), Err(E::Section(0)), "unknown kind");
    assert_eq!(changed(|it| it[first_section + 3] = 1), Err(E::Section(0)), "flags of a section");
    assert_eq!(changed(|it| it[first_section + 1] = 2), Err(E::Sections), "no kernel");
    assert_eq!(changed(|it| it.truncate(HEADER_BYTES - 1)), Err(E::Length));
    assert_eq!(
        changed(|it| {
            it[first_section + 4..first_section + 12].fill(0xff);
            it[SIZES..SIZES + 8].fill(0xff);
        }),
        Err(E::Length),
        "a size that overflows"
    );
}

#[test]
fn an_image_has_a_kernel_a_command_line_and_ramdisks() {
    let long = [b'x'; MAX_CMDLINE_BYTES + 1];
    let cmdline = |cmdline| Image { cmdline, ..image() }.write();
    cmdline(&long[1..]).unwrap();
    assert_eq!(cmdline(&long), Err(MalformedImage::Section(1)));
    assert_eq!(Image { ramdisks: Vec::new(), ..image() }.write(), Err(MalformedImage::Sections));
    assert_eq!(Image { ramdisks: vec![b"x"; 40], ..image() }.write(), Err(MalformedImage::Header));
}
