//! Tickets: a mint for good and bent ones, and the contract's judgement of them.

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::identity::{identity_bytes, to_hex};
use crate::json::{Member, Text};

/// The ticket secret.
pub const SECRET: &[u8] = b"a ticket secret for fuzzing";

/// Why a ticket gives no permission, in the order in which the contract asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketError {
    /// 401
    Invalid,
    /// 403
    Scope,
    /// 403
    Identity,
    /// 403
    Digest,
}

/// The request that a ticket is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The identity in the request.
    pub identity: [u8; 16],
    /// The digest in the request.
    pub digest: [u8; 32],
    /// The clock.
    pub now_unix_ms: u64,
    /// The longest life of a ticket.
    pub max_ttl_s: u32,
}

/// Whether a ticket permits what is asked, if its nonce is unused.
///
/// # Errors
/// [`TicketError`]
pub fn judge(ticket: &str, question: &Question) -> Result<(), TicketError> {
    let claims = authentic_claims(ticket).ok_or(TicketError::Invalid)?;
    if !lives(&claims, question).unwrap_or(false) {
        return Err(TicketError::Invalid);
    }
    if !matches!(claims.member("scope"), Member::String(scope) if scope == b"sign") {
        return Err(TicketError::Scope);
    }
    if !matches!(claims.member("identity_id"), Member::String(id) if identity_bytes(&id) == Some(question.identity))
    {
        return Err(TicketError::Identity);
    }
    let hash = to_hex(&Sha256::digest(question.digest));
    if !matches!(claims.member("digest_hash"), Member::String(claimed) if claimed == hash.as_bytes()) {
        return Err(TicketError::Digest);
    }
    Ok(())
}

fn authentic_claims(ticket: &str) -> Option<Text> {
    let segments: Vec<&str> = ticket.split('.').collect();
    let &[header, claims, tag] = &segments[..] else { return None };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length will do");
    mac.update(format!("{header}.{claims}").as_bytes());
    mac.verify_slice(&BASE64URL.decode(tag).ok()?).ok()?;

    let header = Text::read(&BASE64URL.decode(header).ok()?)?;
    let absent = |name| matches!(header.member(name), Member::Undefined);
    let hs256 = matches!(header.member("alg"), Member::String(alg) if alg == b"HS256");
    let claims = Text::read(&BASE64URL.decode(claims).ok()?)?;
    (hs256 && absent("crit") && absent("b64") && matches!(claims, Text::Object(_))).then_some(claims)
}

fn lives(claims: &Text, question: &Question) -> Option<bool> {
    let now_s = question.now_unix_ms as f64 / 1000.0;
    let exp_s = date(claims.member("exp"))??;
    let nbf_s = date(claims.member("nbf"))?;
    date(claims.member("iat"))?;
    let Member::String(nonce) = claims.member("nonce") else { return None };
    Some(
        exp_s > now_s
            && exp_s <= now_s + f64::from(question.max_ttl_s)
            && nbf_s.is_none_or(|nbf_s| nbf_s <= now_s + 5.0)
            && (1..=128).contains(&nonce.len()),
    )
}

/// A finite number, `Some(None)` where there is none, `None` where something else is.
fn date(member: Member) -> Option<Option<f64>> {
    match member {
        Member::Undefined => Some(None),
        Member::Number(literal) => Some(Some(literal.parse().ok().filter(|date: &f64| date.is_finite())?)),
        _ => None,
    }
}

/// The change to a ticket while it is made.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bend {
    /// The header's segment is the header's text.
    RawHeader,
    /// The claims' segment is the claims' text.
    RawClaims,
    /// Padding on the claims' segment.
    Padding,
    /// The next letter of the alphabet ends the claims' segment, which shows in its spare bits.
    SpareBit,
    /// Standard base64.
    StandardAlphabet,
    /// One bit of the MAC is wrong.
    WrongMac,
    /// The MAC lacks its last byte.
    ShortMac,
    /// A fourth segment, under the MAC.
    FourSegments,
    /// No claims' segment, under the MAC.
    TwoSegments,
    /// Another's secret.
    OtherSecret,
}

impl Bend {
    /// The bend that a letter stands for in a textual seed.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'h' => Self::RawHeader,
            b'c' => Self::RawClaims,
            b'p' => Self::Padding,
            b'b' => Self::SpareBit,
            b'a' => Self::StandardAlphabet,
            b'm' => Self::WrongMac,
            b't' => Self::ShortMac,
            b'4' => Self::FourSegments,
            b'2' => Self::TwoSegments,
            b'o' => Self::OtherSecret,
            _ => return None,
        })
    }
}

/// Makes a ticket. A bent one has a right MAC unless the MAC is what is bent.
#[must_use]
pub fn mint(header: &[u8], claims: &[u8], bends: &[Bend]) -> String {
    let bent = |bend| bends.contains(&bend);
    let segment = |text: &[u8], raw| match (raw, bent(Bend::StandardAlphabet)) {
        (true, _) => String::from_utf8_lossy(text).into_owned(),
        (_, true) => base64::engine::general_purpose::STANDARD_NO_PAD.encode(text),
        _ => BASE64URL.encode(text),
    };
    let header = segment(header, bent(Bend::RawHeader));
    let mut claims = segment(claims, bent(Bend::RawClaims));
    if bent(Bend::SpareBit)
        && claims.ends_with(|last: char| last.is_ascii_alphanumeric() && !"Zz9".contains(last))
    {
        let last = claims.pop().and_then(|last| u8::try_from(last).ok()).unwrap_or_default();
        claims.push(char::from(last + 1));
    }
    if bent(Bend::Padding) {
        claims.push('=');
    }
    let mut signed = if bent(Bend::TwoSegments) { header } else { format!("{header}.{claims}") };
    if bent(Bend::FourSegments) {
        signed.push_str(".e30");
    }
    let secret = if bent(Bend::OtherSecret) { b"another ticket secret" } else { SECRET };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length will do");
    mac.update(signed.as_bytes());
    let mut tag = mac.finalize().into_bytes().to_vec();
    if bent(Bend::WrongMac) {
        tag[17] ^= 4;
    }
    if bent(Bend::ShortMac) {
        tag.pop();
    }
    format!("{signed}.{}", BASE64URL.encode(tag))
}

/// A good JSON object and what becomes of it, in pieces that matter, and some that do not.
#[derive(Arbitrary, Debug)]
pub struct Pieces<'a> {
    changes: Vec<(Name<'a>, Change<'a>)>,
    /// In place of the closing brace.
    end: Option<&'a [u8]>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Replace(Value<'a>),
    Add(Value<'a>),
    Remove,
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Alg,
    Crit,
    B64,
    Exp,
    Nbf,
    Iat,
    Nonce,
    Scope,
    Identity,
    DigestHash,
    Raw(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Hs256,
    Sign,
    Identity,
    IdentityInCapitals,
    DigestHash,
    /// Seconds from now.
    Soon(i16),
    /// Milliseconds from now.
    SoonInFractions(i32),
    Number(f64),
    Text(&'a str),
    Long(u8),
    Nested(u8),
    Raw(&'a [u8]),
}

impl Pieces<'_> {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, question: &Question) -> Vec<u8> {
        self.json(&[(Name::Alg, Value::Hs256)], question)
    }

    /// The text of claims.
    #[must_use]
    pub fn claims(&self, question: &Question) -> Vec<u8> {
        let good = [
            (Name::Scope, Value::Sign),
            (Name::Identity, Value::Identity),
            (Name::DigestHash, Value::DigestHash),
            (Name::Nonce, Value::Long(36)),
            (Name::Exp, Value::Soon(30)),
        ];
        self.json(&good, question)
    }

    fn json(&self, good: &[(Name<'_>, Value<'_>)], question: &Question) -> Vec<u8> {
        let mut members: Vec<_> =
            good.iter().map(|(name, value)| (name.json(), value.json(question))).collect();
        for (name, change) in &self.changes {
            let name = name.json();
            if !matches!(change, Change::Add(_)) {
                members.retain(|(earlier, _)| *earlier != name);
            }
            if let Change::Replace(value) | Change::Add(value) = change {
                members.push((name, value.json(question)));
            }
        }
        let members: Vec<_> = members.into_iter().map(|(name, value)| [name, value].join(&b':')).collect();
        [b"{", &*members.join(&b','), self.end.unwrap_or(b"}")].concat()
    }
}

impl Name<'_> {
    fn json(&self) -> Vec<u8> {
        match self {
            Self::Alg => br#""alg""#.to_vec(),
            Self::Crit => br#""crit""#.to_vec(),
            Self::B64 => br#""b64""#.to_vec(),
            Self::Exp => br#""exp""#.to_vec(),
            Self::Nbf => br#""nbf""#.to_vec(),
            Self::Iat => br#""iat""#.to_vec(),
            Self::Nonce => br#""nonce""#.to_vec(),
            Self::Scope => br#""scope""#.to_vec(),
            Self::Identity => br#""identity_id""#.to_vec(),
            Self::DigestHash => br#""digest_hash""#.to_vec(),
            Self::Raw(raw) => raw.to_vec(),
        }
    }
}

impl Value<'_> {
    fn json(&self, question: &Question) -> Vec<u8> {
        let now_ms = i128::from(question.now_unix_ms);
        match self {
            Self::Hs256 => br#""HS256""#.to_vec(),
            Self::Sign => br#""sign""#.to_vec(),
            Self::Identity => format!(r#""{}""#, uuid(&question.identity)).into_bytes(),
            Self::IdentityInCapitals => {
                format!(r#""{}""#, uuid(&question.identity).to_uppercase()).into_bytes()
            }
            Self::DigestHash => format!(r#""{}""#, to_hex(&Sha256::digest(question.digest))).into_bytes(),
            Self::Soon(seconds) => (now_ms / 1000 + i128::from(*seconds)).to_string().into_bytes(),
            Self::SoonInFractions(ms) => format!("{}e-3", now_ms + i128::from(*ms)).into_bytes(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Text(text) => serde_json::to_vec(text).expect("text is JSON"),
            Self::Long(length) => format!(r#""{}""#, "n".repeat(usize::from(*length))).into_bytes(),
            Self::Nested(depth) => {
                let depth = usize::from(*depth % 40);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
            }
            Self::Raw(raw) => raw.to_vec(),
        }
    }
}

/// The written form of an identity.
#[must_use]
pub fn uuid(identity: &[u8; 16]) -> String {
    let hex = to_hex(identity);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
