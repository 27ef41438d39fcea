//! SigV4 for KMS, by AWS's own crate.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

/// The request cannot be signed: something in it is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSigned;

/// Signs `request`, whose body is `body`, for `service` in `region` at `time`.
///
/// # Errors
/// [`NotSigned`]
pub(crate) fn signed(
    mut request: Request<Full<Bytes>>,
    body: &[u8],
    credentials: &Credentials,
    region: &str,
    service: &str,
    time: SystemTime,
) -> Result<Request<Full<Bytes>>, NotSigned> {
    let mut settings = SigningSettings::default();
    // Signed as KMS's own clients do, so that the hash of the body stands in the request too.
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|_| NotSigned)?
        .into();
    let uri = request.uri().to_string();
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("")));
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, SignableBody::Bytes(body))
        .map_err(|_| NotSigned)?;
    let (instructions, _) = sign(signable, &parameters).map_err(|_| NotSigned)?.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}
