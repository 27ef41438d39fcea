//! The signer reads answers of an ACME server like another reader, follows them to that server only, and refuses in one
//! line.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use configuration::HttpsUrl;
use enclave_runtime::acme::{AcmeError, Answer, Authorization, Directory, Order};
use fuzz::acme::{self, HOME, NAMES};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static HOME_URL: LazyLock<HttpsUrl> = LazyLock::new(|| HOME.parse().expect("an https URL"));
static NAMES_ASKED: LazyLock<Vec<String>> = LazyLock::new(|| NAMES.map(str::to_owned).to_vec());

/// 1994-11-06, 08:49:37, the date of RFC 9110.
const NOW_UNIX_S: u64 = 784_111_777;

const DAY: Duration = Duration::from_secs(86_400);

fuzz_target!(|data: &[u8]| {
    let response = response(data);
    let (status, headers, body) = (response.status(), response.headers().clone(), response.body().clone());
    let answer = Answer::of(response, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_UNIX_S));
    check_head(&answer, &headers);
    let retry_after = answer.retry_after;
    match answer.accepted() {
        Ok(answer) => assert!(status.is_success() && answer.body == body),
        Err(error) => {
            assert!(!status.is_success());
            is_one_line(&error);
            assert_eq!(error.retry_after(), retry_after);
            if serde_json::from_slice(&body)
                .is_ok_and(|it| !acme::has_a_list_for_an_object(&it) && !acme::is_problem(&it))
            {
                assert_eq!(error.to_string(), format!("the acme server refuses: status {}", status.as_u16()));
            }
        }
    }
    let value = serde_json::from_slice::<Value>(&body).ok().filter(|it| !acme::has_a_list_for_an_object(it));
    // Refused where the other reads it: for a member that stands there twice.
    check_body(&body, value.as_ref(), false);
    if let Some(value) = value {
        check_body(value.to_string().as_bytes(), Some(&value), true);
    }
});

/// An HTTP response, or else one with `data` for its body.
fn response(data: &[u8]) -> Response<Bytes> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(data) else {
        return Response::new(Bytes::copy_from_slice(data));
    };
    let mut response = Response::new(Bytes::copy_from_slice(&data[length..]));
    if let Some(status) = head.code.and_then(|code| code.try_into().ok()) {
        *response.status_mut() = status;
    }
    for header in head.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(header.name), HeaderValue::from_bytes(header.value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn check_head(answer: &Answer, headers: &HeaderMap) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(answer.nonce.as_deref(), text("replay-nonce").filter(|it| acme::is_base64url(it)));
    assert_eq!(answer.location.as_deref(), text("location"));
    assert!(answer.retry_after.is_none_or(|wait| wait <= DAY));
    // More digits are no number of 64 bits, which no server means.
    let digits =
        text("retry-after").filter(|it| it.len() < 20 && it.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some(seconds) = digits.and_then(|it| it.parse().ok()) {
        assert_eq!(answer.retry_after, Some(DAY.min(Duration::from_secs(seconds))));
    }
    if let Some(location) = &answer.location {
        let url = HOME_URL.beside(location);
        assert_eq!(url.as_ref().map(HttpsUrl::to_string), acme::url(location), "{location}");
        url.iter().for_each(can_be_asked_for);
    }
}

/// Reads `body`, which is `value`, in every way that it is read. `is_canonical` if all that the judge reads is read.
fn check_body(body: &[u8], value: Option<&Value>, is_canonical: bool) {
    let shown = body.escape_ascii();
    let agree = |is_read: bool, is_judged_so: bool| is_read || !(is_canonical && is_judged_so);

    let directory = told(Directory::read(body, &HOME_URL));
    if let Some(Directory { new_nonce, new_account, new_order }) = &directory {
        [new_nonce, new_account, new_order].into_iter().for_each(can_be_asked_for);
    }
    let order = told(Order::read(body, &HOME_URL, &NAMES_ASKED));
    if let Some(order) = &order {
        is_one_line(&order.refusal(Some(DAY)));
        assert!(order.authorizations.len() <= NAMES.len());
        order
            .authorizations
            .iter()
            .chain([&order.finalize])
            .chain(&order.certificate)
            .for_each(can_be_asked_for);
    }
    let authorization = told(Authorization::read(body, &NAMES_ASKED));
    let challenge = authorization.as_ref().and_then(|it| {
        is_one_line(&it.refusal(Some(DAY)));
        told(it.challenge(&HOME_URL)).inspect(|it| can_be_asked_for(&it.url))
    });

    let Some(value) = value else { return };
    let judged = acme::directory(value);
    assert!(agree(directory.is_some(), judged.is_some()), "no directory: {shown}");
    if let Some(it) = directory {
        let urls = [it.new_nonce, it.new_account, it.new_order].map(|url| url.to_string());
        assert_eq!(Some(urls), judged, "{shown}");
    }
    let judged = acme::order(value);
    assert!(agree(order.is_some(), judged.is_some()), "no order: {shown}");
    if let Some(it) = order {
        let order = acme::Order {
            status: format!("{:?}", it.status).to_lowercase(),
            authorizations: it.authorizations.iter().map(HttpsUrl::to_string).collect(),
            finalize: it.finalize.to_string(),
            certificate: it.certificate.map(|url| url.to_string()),
        };
        assert_eq!(Some(order), judged, "{shown}");
    }
    let judged = acme::authorization(value);
    assert!(agree(authorization.is_some(), judged.is_some()), "no authorization: {shown}");
    let Some(it) = &authorization else { return };
    assert_eq!(Some((format!("{:?}", it.status).to_lowercase(), it.name.clone())), judged, "{shown}");
    let challenge = challenge.map(|it| (it.url.to_string(), it.token.to_owned()));
    assert_eq!(challenge, acme::challenge(value), "{shown}");
}

/// The result of reading, or `None` after checking that the reason is one line.
fn told<T>(read: Result<T, AcmeError>) -> Option<T> {
    read.inspect_err(is_one_line).ok()
}

/// A server's own words are up to 360 characters of it.
fn is_one_line(error: &AcmeError) {
    let line = error.to_string();
    assert!(line.len() < 400 && line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
}

fn can_be_asked_for(url: &HttpsUrl) {
    let request = Request::builder().uri(url.path()).header("host", url.authority()).body(());
    assert_eq!(request.expect("a path").uri().path_and_query().map(|it| it.as_str()), Some(url.path()));
}
