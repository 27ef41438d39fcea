//! A strict JSON reader over one lent, writable buffer: no allocation, no recursion.
//!
//! One pass checks the whole text against RFC 8259, writes the unescaped form of each top-level key and string back
//! over its escaped form (never longer, so it fits), and reports where the members a caller named are. Everything
//! else is checked and forgotten.
//!
//! Strings come out as WTF-8: UTF-8, in which a lone surrogate escape such as `\ud800` (legal JSON, and accepted by
//! JavaScript's `JSON.parse`) keeps its three-byte form.
//!
//! Beyond RFC 8259: a name that occurs twice at the top level is refused, since two readers of such a text need not
//! agree on what it says.

use core::hash::Hasher as _;
use core::ops::Range;

use siphasher::sip::SipHasher13;

use crate::hash_seed::HashSeed;

/// Deepest nesting of arrays and objects, the outermost included. The API's own bodies nest once; one word of bits
/// remembers the kinds of 32 open containers.
pub const MAX_DEPTH: u32 = 32;

/// Longest text, in bytes: positions are kept in 16 bits in the table of names seen. The API's bodies end at 32 KiB.
pub const MAX_TEXT_BYTES: usize = 0xFFFF;

/// Names compared one by one before a hash table takes over. A request has at most three.
const FEW_NAMES: usize = 8;

/// Slots of that table. The shortest member, `"":0,`, takes five bytes, so 65,535 bytes hold at most 13,107 names.
const MANY_SLOTS: usize = 16_384;

/// The text is not JSON, or not JSON that two readers would read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// The value of a member. Strings and numbers are positions in the parsed buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// The member is missing.
    Undefined,
    Null,
    Boolean,
    /// Its literal.
    Number(Range<usize>),
    /// Its unescaped WTF-8.
    String(Range<usize>),
    Array,
    Object,
}

/// The named members of an object, in the order they were asked for; or the value that stood where an object should.
#[derive(Debug)]
pub(crate) enum Document<const N: usize> {
    Object([Value; N]),
    Other(Value),
}

/// Reads `text` to its end.
///
/// # Errors
/// [`NotJson`]; the buffer's contents are then unspecified.
pub(crate) fn read<const N: usize>(
    text: &mut [u8],
    names: [&[u8]; N],
    seed: &HashSeed,
) -> Result<Document<N>, NotJson> {
    if text.len() > MAX_TEXT_BYTES || core::str::from_utf8(text).is_err() {
        return Err(NotJson);
    }
    let mut cursor = Cursor { text, at: 0 };
    cursor.skip_white();
    let document = if cursor.peek() == Some(b'{') {
        cursor.at += 1;
        Document::Object(cursor.members(names, seed)?)
    } else {
        Document::Other(cursor.value(0)?)
    };
    cursor.skip_white();
    if cursor.at == cursor.text.len() { Ok(document) } else { Err(NotJson) }
}

struct Cursor<'t> {
    text: &'t mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, NotJson> {
        let byte = self.peek().ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.next()? == byte { Ok(()) } else { Err(NotJson) }
    }

    fn skip_white(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The members of the outermost object, after its `{`.
    fn members<const N: usize>(&mut self, names: [&[u8]; N], seed: &HashSeed) -> Result<[Value; N], NotJson> {
        let mut found = [const { Value::Undefined }; N];
        self.skip_white();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(found);
        }
        let mut few = FewNames::default();
        if let Members::NoRoomFor(name) =
            self.members_while(&names, &mut found, |text, name| few.admit(text, name))?
        {
            self.many_members(&names, &mut found, &few, name, seed)?;
        }
        Ok(found)
    }

    /// Goes on where [`FewNames`] had no room for `name`. Cold and apart: its table is 96 KiB of stack that no real
    /// request touches.
    #[cold]
    #[inline(never)]
    fn many_members(
        &mut self,
        names: &[&[u8]],
        found: &mut [Value],
        few: &FewNames,
        name: Name,
        seed: &HashSeed,
    ) -> Result<(), NotJson> {
        let mut many = ManyNames { slots: [None; MANY_SLOTS], seed };
        for seen in few.names().chain([&name]) {
            if many.admit(self.text, *seen) != Admitted::New {
                return Err(NotJson);
            }
        }
        self.member_value(names, found, name)?;
        if self.another_member()? {
            match self.members_while(names, found, |text, name| many.admit(text, name))? {
                Members::End => {}
                Members::NoRoomFor(_) => return Err(NotJson),
            }
        }
        Ok(())
    }

    /// Members up to and with the closing `}`, as long as `admit` has room for their names.
    fn members_while(
        &mut self,
        names: &[&[u8]],
        found: &mut [Value],
        mut admit: impl FnMut(&[u8], Name) -> Admitted,
    ) -> Result<Members, NotJson> {
        loop {
            self.skip_white();
            self.expect(b'"')?;
            let name = Name::new(&self.unescape_string()?);
            match admit(self.text, name) {
                Admitted::New => {}
                Admitted::Repeated => return Err(NotJson),
                Admitted::NoRoom => return Ok(Members::NoRoomFor(name)),
            }
            self.member_value(names, found, name)?;
            if !self.another_member()? {
                return Ok(Members::End);
            }
        }
    }

    /// `: value`, kept if `name` was asked for.
    fn member_value(&mut self, names: &[&[u8]], found: &mut [Value], name: Name) -> Result<(), NotJson> {
        self.skip_white();
        self.expect(b':')?;
        self.skip_white();
        let wanted = names.iter().position(|wanted| *wanted == name.of(self.text));
        match wanted.and_then(|position| found.get_mut(position)) {
            Some(slot) if self.peek() == Some(b'"') => {
                self.at += 1;
                *slot = Value::String(self.unescape_string()?);
            }
            Some(slot) => *slot = self.value(1)?,
            None => {
                self.value(1)?;
            }
        }
        Ok(())
    }

    /// Whether `,` (true) or `}` (false) follows a member.
    fn another_member(&mut self) -> Result<bool, NotJson> {
        self.skip_white();
        match self.next()? {
            b',' => Ok(true),
            b'}' => Ok(false),
            _ => Err(NotJson),
        }
    }

    /// Checks one value inside `enclosing` containers and says what it is, leaving strings as they stand.
    fn value(&mut self, enclosing: u32) -> Result<Value, NotJson> {
        let first = self.next()?;
        match Container::opened_by(first) {
            Some(container) => {
                self.nested(container, enclosing)?;
                Ok(match container {
                    Container::Array => Value::Array,
                    Container::Object => Value::Object,
                })
            }
            None => self.scalar(first),
        }
    }

    /// Checks a value that opens no container; `first` is its first byte, already taken.
    fn scalar(&mut self, first: u8) -> Result<Value, NotJson> {
        let start = self.at.saturating_sub(1);
        match first {
            b'"' => self.check_string().map(|()| Value::String(start..self.at)),
            b't' => self.literal(b"rue").map(|()| Value::Boolean),
            b'f' => self.literal(b"alse").map(|()| Value::Boolean),
            b'n' => self.literal(b"ull").map(|()| Value::Null),
            b'-' | b'0'..=b'9' => self.number(first).map(|()| Value::Number(start..self.at)),
            _ => Err(NotJson),
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), NotJson> {
        rest.iter().try_for_each(|byte| self.expect(*byte))
    }

    fn number(&mut self, first: u8) -> Result<(), NotJson> {
        let leading = if first == b'-' { self.next()? } else { first };
        match leading {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(NotJson),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        if !self.next()?.is_ascii_digit() {
            return Err(NotJson);
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Checks a container just opened, up to and with its closing bracket. A loop over a word of bits, so that depth
    /// costs no stack.
    fn nested(&mut self, outermost: Container, enclosing: u32) -> Result<(), NotJson> {
        let mut open = OpenContainers { objects: 0, count: 0, limit: MAX_DEPTH - enclosing };
        open.push(outermost)?;
        let mut just_opened = true;
        while let Some(container) = open.innermost() {
            self.skip_white();
            if just_opened && self.peek() == Some(container.closing()) {
                self.at += 1;
                open.pop();
            } else {
                if container == Container::Object {
                    self.expect(b'"')?;
                    self.check_string()?;
                    self.skip_white();
                    self.expect(b':')?;
                    self.skip_white();
                }
                let first = self.next()?;
                if let Some(inner) = Container::opened_by(first) {
                    open.push(inner)?;
                    just_opened = true;
                    continue;
                }
                self.scalar(first)?;
            }
            // After a value: a comma and another, or the end of this container and perhaps of those around it.
            just_opened = false;
            while let Some(container) = open.innermost() {
                self.skip_white();
                match self.next()? {
                    b',' => break,
                    byte if byte == container.closing() => open.pop(),
                    _ => return Err(NotJson),
                }
            }
        }
        Ok(())
    }

    /// Checks a string after its opening quote, up to and with its closing one.
    fn check_string(&mut self) -> Result<(), NotJson> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => {
                    self.escape()?;
                }
                0x00..=0x1F => return Err(NotJson),
                _ => {}
            }
        }
    }

    /// Like [`Cursor::check_string`], and writes the unescaped form over the escaped one; the range it returns.
    fn unescape_string(&mut self) -> Result<Range<usize>, NotJson> {
        let start = self.at;
        let mut end = start;
        loop {
            match self.next()? {
                b'"' => return Ok(start..end),
                b'\\' => {
                    let code_point = self.escape()?;
                    let mut wtf8 = [0; 4];
                    for byte in encode_wtf8(code_point, &mut wtf8) {
                        self.put(&mut end, *byte)?;
                    }
                }
                0x00..=0x1F => return Err(NotJson),
                byte => self.put(&mut end, byte)?,
            }
        }
    }

    /// Writes behind the reading position: no escape is shorter than what it stands for.
    fn put(&mut self, end: &mut usize, byte: u8) -> Result<(), NotJson> {
        *self.text.get_mut(*end).ok_or(NotJson)? = byte;
        *end += 1;
        Ok(())
    }

    /// The code point of an escape, after its backslash; a surrogate only if it stands alone.
    fn escape(&mut self) -> Result<u32, NotJson> {
        Ok(match self.next()? {
            b'"' => 0x22,
            b'\\' => 0x5C,
            b'/' => 0x2F,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => 0x0A,
            b'r' => 0x0D,
            b't' => 0x09,
            b'u' => {
                let high = self.four_hex()?;
                if (0xD800..0xDC00).contains(&high) {
                    let after_high = self.at;
                    if self.peek() == Some(b'\\') {
                        self.at += 1;
                        if self.next()? == b'u' {
                            let low = self.four_hex()?;
                            if (0xDC00..0xE000).contains(&low) {
                                return Ok(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                            }
                        }
                        self.at = after_high;
                    }
                }
                high
            }
            _ => return Err(NotJson),
        })
    }

    fn four_hex(&mut self) -> Result<u32, NotJson> {
        let mut code_unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(NotJson)?;
            code_unit = code_unit * 16 + digit;
        }
        Ok(code_unit)
    }
}

/// UTF-8's bit pattern, for surrogates too.
#[allow(clippy::cast_possible_truncation, reason = "each byte is masked or shifted below 256 first")]
fn encode_wtf8(code_point: u32, bytes: &mut [u8; 4]) -> &[u8] {
    let tail = |shift: u32| 0x80 | ((code_point >> shift) & 0x3F) as u8;
    let length = match code_point {
        0..0x80 => {
            bytes[0] = code_point as u8;
            1
        }
        0x80..0x800 => {
            *bytes = [0xC0 | (code_point >> 6) as u8, tail(0), 0, 0];
            2
        }
        0x800..0x1_0000 => {
            *bytes = [0xE0 | (code_point >> 12) as u8, tail(6), tail(0), 0];
            3
        }
        _ => {
            *bytes = [0xF0 | ((code_point >> 18) & 0x07) as u8, tail(12), tail(6), tail(0)];
            4
        }
    };
    bytes.split_at(length).0
}

/// UTF-16 code units of a WTF-8 string: what JavaScript calls its length.
pub(crate) fn utf16_length(wtf8: &[u8]) -> usize {
    wtf8.iter()
        .map(|byte| match byte {
            0x80..=0xBF => 0,
            0xF0..=0xFF => 2,
            _ => 1,
        })
        .sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl Container {
    fn opened_by(byte: u8) -> Option<Self> {
        match byte {
            b'[' => Some(Self::Array),
            b'{' => Some(Self::Object),
            _ => None,
        }
    }

    fn closing(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}

/// A stack of containers, one bit each.
struct OpenContainers {
    /// Bit 0 is the innermost; set for an object.
    objects: u32,
    count: u32,
    limit: u32,
}

impl OpenContainers {
    fn push(&mut self, container: Container) -> Result<(), NotJson> {
        if self.count == self.limit {
            return Err(NotJson);
        }
        self.objects = self.objects << 1 | u32::from(container == Container::Object);
        self.count += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.count -= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match (self.count, self.objects & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}

/// How reading members ended.
enum Members {
    End,
    /// After this name, before its colon.
    NoRoomFor(Name),
}

/// Where a member's unescaped name stands.
#[derive(Clone, Copy)]
struct Name {
    start: u16,
    end: u16,
}

impl Name {
    #[allow(clippy::cast_possible_truncation, reason = "`read` refuses texts over MAX_TEXT_BYTES = u16::MAX")]
    fn new(range: &Range<usize>) -> Self {
        Self { start: range.start as u16, end: range.end as u16 }
    }

    fn of(self, text: &[u8]) -> &[u8] {
        text.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

#[derive(PartialEq, Eq)]
enum Admitted {
    New,
    Repeated,
    NoRoom,
}

/// The first names seen.
#[derive(Default)]
struct FewNames {
    names: [Option<Name>; FEW_NAMES],
    count: usize,
}

impl FewNames {
    fn admit(&mut self, text: &[u8], name: Name) -> Admitted {
        if self.names().any(|earlier| earlier.of(text) == name.of(text)) {
            return Admitted::Repeated;
        }
        match self.names.get_mut(self.count) {
            Some(slot) => {
                *slot = Some(name);
                self.count += 1;
                Admitted::New
            }
            None => Admitted::NoRoom,
        }
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().flatten()
    }
}

/// All names seen, by a keyed hash (a client that could choose the slots could make each look-up walk all others).
struct ManyNames<'s> {
    slots: [Option<Name>; MANY_SLOTS],
    seed: &'s HashSeed,
}

impl ManyNames<'_> {
    fn admit(&mut self, text: &[u8], name: Name) -> Admitted {
        let wanted = name.of(text);
        let mut hasher = SipHasher13::new_with_key(self.seed.bytes());
        hasher.write(wanted);
        #[allow(clippy::cast_possible_truncation, reason = "only the low bits pick a slot")]
        let first = hasher.finish() as usize;
        for probe in 0..MANY_SLOTS {
            match self.slots.get_mut(first.wrapping_add(probe) % MANY_SLOTS) {
                Some(slot @ None) => {
                    *slot = Some(name);
                    return Admitted::New;
                }
                Some(Some(earlier)) if earlier.of(text) == wanted => return Admitted::Repeated,
                _ => {}
            }
        }
        Admitted::NoRoom
    }
}

#[cfg(test)]
mod tests;
