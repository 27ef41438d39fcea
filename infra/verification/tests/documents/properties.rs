//! Properties over random inputs.

use base64ct::{Base64, Encoding as _};
use proptest::prelude::*;
use verification::{ExpectedPcr, ExpectedPcrs, document_in};

use crate::{TLS_KEY, document, expectation, good, reply, verdict};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_changed_document_is_attested(at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut document = document(&good());
        let place = at.index(document.len());
        document[place] ^= flip;
        prop_assert!(verdict(&reply(&document), Some(TLS_KEY), &expectation()).is_err());
    }

    #[test]
    fn no_other_bytes_are_attested(reply in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verdict(&reply, Some(TLS_KEY), &expectation()).is_err());
    }

    #[test]
    fn any_bytes_come_back_from_base64(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(document_in(&reply(&bytes)), Ok(bytes.clone()));
        // Neither a brace nor the start of a document.
        bytes.insert(0, 0);
        prop_assert_eq!(document_in(Base64::encode_string(&bytes).as_bytes()), Ok(bytes));
    }

    #[test]
    fn registers_are_read_as_they_are_noted(values in prop::collection::btree_map(0..32_u8, 1..=255_u8, 1..33)) {
        let hex = |byte: u8| format!("{byte:02X}").repeat(48);
        let noted: String =
            values.iter().map(|(index, byte)| format!("PCR{index} = \"{}\"\n", hex(*byte))).collect();
        let printed: Vec<_> =
            values.iter().map(|(index, byte)| format!("\"PCR{index}\": \"{}\"", hex(*byte))).collect();
        let named = values.iter().map(|(index, byte)| format!("{index}={}", hex(*byte)).parse::<ExpectedPcr>().unwrap());
        let read = ExpectedPcrs::from_registers(named);
        prop_assert_eq!(&ExpectedPcrs::from_text(&format!("[pcr]\n{noted}")), &read);
        let json = format!("{{\"Measurements\": {{{}}}}}", printed.join(", "));
        prop_assert_eq!(&ExpectedPcrs::from_text(&json), &read);
        if let Ok(read) = read {
            let pairs: Vec<_> = read.iter().map(|(index, value)| (index, value[0])).collect();
            prop_assert_eq!(pairs, values.into_iter().collect::<Vec<_>>());
        }
    }
}
