//! The NSM of a Nitro Enclave, at `/dev/nsm`.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use aws_nitro_enclaves_nsm_api::api::{ErrorCode, Request, Response};
use aws_nitro_enclaves_nsm_api::driver::nsm_process_request;
use nix::errno::Errno;
use zeroize::Zeroizing;

use super::{AttestationRequest, Nsm, NsmUnavailable, Pcr};

const PATH: &str = "/dev/nsm";

/// The device, open.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens `/dev/nsm`.
    ///
    /// # Errors
    /// [`NsmUnavailable::NotOpened`]
    pub fn open() -> Result<Self, NsmUnavailable> {
        // `nsm_init` does the same, but hides the reason of a failure and leaves the closing to the caller.
        let file = File::options().read(true).write(true).open(PATH);
        file.map(Self).map_err(|error| {
            NsmUnavailable::NotOpened(error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
        })
    }

    fn ask(&self, request: Request) -> Response {
        nsm_process_request(self.0.as_raw_fd(), request)
    }
}

impl Nsm for Device {
    fn attest(&self, request: &AttestationRequest<'_>) -> Result<Vec<u8>, NsmUnavailable> {
        request.check()?;
        document(self.ask(encodable(request)))
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
        random(self.ask(Request::GetRandom))
    }

    fn describe_pcr(&self, index: u16) -> Result<Pcr, NsmUnavailable> {
        pcr(self.ask(Request::DescribePCR { index }))
    }
}

fn encodable(request: &AttestationRequest<'_>) -> Request {
    Request::Attestation {
        user_data: request.user_data.map(|bytes| bytes.to_vec().into()),
        nonce: request.nonce.map(|bytes| bytes.to_vec().into()),
        public_key: request.public_key.map(|bytes| bytes.to_vec().into()),
    }
}

fn document(response: Response) -> Result<Vec<u8>, NsmUnavailable> {
    match response {
        Response::Attestation { document } => Ok(document),
        other => Err(unwanted(other)),
    }
}

fn random(response: Response) -> Result<Zeroizing<Vec<u8>>, NsmUnavailable> {
    match response {
        Response::GetRandom { random } => Ok(Zeroizing::new(random)),
        other => Err(unwanted(other)),
    }
}

fn pcr(response: Response) -> Result<Pcr, NsmUnavailable> {
    match response {
        Response::DescribePCR { lock, data } => Ok(Pcr { locked: lock, value: data }),
        other => Err(unwanted(other)),
    }
}

fn unwanted(response: Response) -> NsmUnavailable {
    NsmUnavailable::Unexpected(match response {
        Response::Error(code) => return NsmUnavailable::Refused(name(&code)),
        Response::DescribePCR { .. } => "DescribePCR",
        Response::ExtendPCR { .. } => "ExtendPCR",
        Response::LockPCR => "LockPCR",
        Response::LockPCRs => "LockPCRs",
        Response::DescribeNSM { .. } => "DescribeNSM",
        Response::Attestation { .. } => "Attestation",
        Response::GetRandom { random } => {
            drop(Zeroizing::new(random));
            "GetRandom"
        }
        _ => "an answer of a kind unknown",
    })
}

fn name(code: &ErrorCode) -> &'static str {
    match code {
        ErrorCode::Success => "Success",
        ErrorCode::InvalidArgument => "InvalidArgument",
        ErrorCode::InvalidIndex => "InvalidIndex",
        ErrorCode::InvalidResponse => "InvalidResponse",
        ErrorCode::ReadOnlyIndex => "ReadOnlyIndex",
        ErrorCode::InvalidOperation => "InvalidOperation",
        ErrorCode::BufferTooSmall => "BufferTooSmall",
        ErrorCode::InputTooLarge => "InputTooLarge",
        ErrorCode::InternalError => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use aws_nitro_enclaves_nsm_api::api::{Request, Response};
    use nix::errno::Errno;

    use super::{Device, PATH, document, encodable, pcr, random};
    use crate::nsm::{AttestationRequest, Nsm as _, NsmUnavailable, Pcr};

    fn encoded(request: &Request) -> String {
        hex::encode(serde_cbor::to_vec(request).unwrap())
    }

    fn decoded(hex: &str) -> Response {
        serde_cbor::from_slice(&hex::decode(hex).unwrap()).unwrap()
    }

    /// CBOR text of under 24 bytes.
    fn text(text: &str) -> String {
        format!("{:02x}{}", 0x60 + text.len(), hex::encode(text))
    }

    /// The other side is QEMU's `hw/virtio/virtio-nsm.c`, which looks for these texts, and Nitro's.
    #[test]
    fn requests_are_what_the_device_reads() {
        assert_eq!(encoded(&Request::GetRandom), "6947657452616e646f6d");
        assert_eq!(
            encoded(&Request::DescribePCR { index: 4 }),
            ["a1", &text("DescribePCR"), "a1", &text("index"), "04"].concat()
        );
        let request = AttestationRequest { nonce: Some(&[1, 2, 3]), ..Default::default() };
        assert_eq!(
            encoded(&encodable(&request)),
            [
                "a1",
                &text("Attestation"),
                "a3",
                &text("user_data"),
                "f6",
                &text("nonce"),
                "43010203",
                &text("public_key"),
                "f6"
            ]
            .concat()
        );
        let request = AttestationRequest { public_key: Some(b"k"), user_data: Some(b"u"), nonce: Some(b"") };
        assert_eq!(
            encoded(&encodable(&request)),
            [
                "a1",
                &text("Attestation"),
                "a3",
                &text("user_data"),
                "4175",
                &text("nonce"),
                "40",
                &text("public_key"),
                "416b"
            ]
            .concat()
        );
    }

    #[test]
    fn the_longest_request_fits_the_device() {
        let request = AttestationRequest {
            public_key: Some(&[0; super::super::MAX_PUBLIC_KEY_BYTES]),
            user_data: Some(&[0; super::super::MAX_USER_DATA_BYTES]),
            nonce: Some(&[0; super::super::MAX_NONCE_BYTES]),
        };
        // NSM_REQUEST_MAX_SIZE of drivers/misc/nsm.c.
        assert!(serde_cbor::to_vec(&encodable(&request)).unwrap().len() <= 0x1000);
    }

    #[test]
    fn answers_are_read_by_key_not_by_place() {
        let (lock, data) = (text("lock"), text("data"));
        let nitro = ["a1", &text("DescribePCR"), "a2", &lock, "f5", &data, "420102"].concat();
        let qemu = ["a1", &text("DescribePCR"), "a2", &data, "420102", &lock, "f5"].concat();
        let register = Pcr { locked: true, value: vec![1, 2] };
        assert_eq!(pcr(decoded(&nitro)), Ok(register.clone()));
        assert_eq!(pcr(decoded(&qemu)), Ok(register));
        let bytes = ["a1", &text("GetRandom"), "a1", &text("random"), "4401020304"].concat();
        assert_eq!(random(decoded(&bytes)).unwrap().as_slice(), [1, 2, 3, 4]);
        let bytes = ["a1", &text("Attestation"), "a1", &text("document"), "4184"].concat();
        assert_eq!(document(decoded(&bytes)), Ok(vec![0x84]));
    }

    #[test]
    fn every_other_answer_is_an_error_by_its_name() {
        for error in [
            "Success",
            "InvalidArgument",
            "InvalidIndex",
            "InvalidResponse",
            "ReadOnlyIndex",
            "InvalidOperation",
            "BufferTooSmall",
            "InputTooLarge",
            "InternalError",
        ] {
            let bytes = ["a1", &text("Error"), &text(error)].concat();
            assert_eq!(document(decoded(&bytes)), Err(NsmUnavailable::Refused(error)));
            assert_eq!(random(decoded(&bytes)).err(), Some(NsmUnavailable::Refused(error)));
            assert_eq!(pcr(decoded(&bytes)), Err(NsmUnavailable::Refused(error)));
        }
        let unexpected = |name| Some(NsmUnavailable::Unexpected(name));
        let attestation = ["a1", &text("Attestation"), "a1", &text("document"), "4184"].concat();
        let entropy = ["a1", &text("GetRandom"), "a1", &text("random"), "4101"].concat();
        let register = ["a1", &text("DescribePCR"), "a2", &text("lock"), "f4", &text("data"), "40"].concat();
        let extended = ["a1", &text("ExtendPCR"), "a1", &text("data"), "40"].concat();
        assert_eq!(document(decoded(&entropy)).err(), unexpected("GetRandom"));
        assert_eq!(document(decoded(&register)).err(), unexpected("DescribePCR"));
        assert_eq!(random(decoded(&attestation)).err(), unexpected("Attestation"));
        assert_eq!(random(decoded(&extended)).err(), unexpected("ExtendPCR"));
        assert_eq!(pcr(decoded(&text("LockPCR"))).err(), unexpected("LockPCR"));
        assert_eq!(pcr(decoded(&text("LockPCRs"))).err(), unexpected("LockPCRs"));
    }

    #[test]
    fn a_device_that_is_no_nsm_refuses_everything() {
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let device = Device(null);
        let refused = Some(NsmUnavailable::Refused("InternalError"));
        assert_eq!(device.attest(&AttestationRequest::default()).err(), refused);
        assert_eq!(device.random().err(), refused);
        assert_eq!(device.describe_pcr(0).err(), refused);
        let too_long = AttestationRequest { nonce: Some(&[0; 513]), ..Default::default() };
        assert_eq!(device.attest(&too_long).err(), Some(NsmUnavailable::InvalidField("nonce")));
    }

    #[test]
    fn where_there_is_no_device_it_is_said() {
        if Path::new(PATH).exists() {
            return;
        }
        let unavailable = Device::open().unwrap_err();
        assert_eq!(unavailable, NsmUnavailable::NotOpened(Errno::ENOENT));
        assert_eq!(unavailable.to_string(), "/dev/nsm cannot be opened: ENOENT: No such file or directory");
    }
}
