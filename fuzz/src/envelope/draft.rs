//! Makes envelopes in any spelling that BER has, and bends them.

use aes::Aes256;
use arbitrary::Arbitrary;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};

use super::{CONTENT_KEY_BYTE, MAX_CHUNK_DEPTH, RECIPIENT, WRAPPED_KEYS};

const SHA_256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";

/// An envelope in the making.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    /// Opening takes a hundred times as long as reading, so few drafts are opened.
    opened: u8,
    wrapped_key: u8,
    iv: [u8; 16],
    nulls: [bool; 2],
    label: Option<&'a [u8]>,
    chunks: Option<Chunks>,
    lengths: Vec<Length>,
    bends: Vec<Bend<'a>>,
    last_bends: Vec<ByteBend>,
    padding_bend: Option<(u8, u8)>,
    plaintext: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Chunks {
    sizes: Vec<u8>,
    /// How many strings all but the first are in, one after another.
    depth: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Shortest,
    /// In so many octets more than 4 have.
    Long(u8),
    Indefinite,
    IndefiniteEvenIfPrimitive,
}

/// The change to an element. Elements are numbered from the outermost.
#[derive(Arbitrary, Debug)]
enum Bend<'a> {
    Remove(u8),
    Double(u8),
    Tag(u8, u8),
    Contents(u8, &'a [u8]),
    Wrap(u8, u8),
    Insert(u8, u8, &'a [u8]),
    Swap(u8, u8),
}

#[derive(Arbitrary, Debug)]
enum ByteBend {
    Flip(u16, u8),
    Remove(u16),
    Insert(u16, u8),
    Cut(u16),
    Append(u8),
}

#[derive(Clone, Debug)]
enum Node {
    Primitive(u8, Vec<u8>),
    Constructed(u8, Vec<Node>),
}

impl Draft<'_> {
    /// Whether its envelopes are to be opened, not only read.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.opened % 16 == 1
    }

    /// The content of the first of its envelopes, if that has no error.
    #[must_use]
    pub fn plaintext(&self) -> Option<&[u8]> {
        let key = self.wrapped_key().0 == 0;
        let label = self.label.is_none_or(<[u8]>::is_empty);
        let chunks = self.chunks.as_ref().is_none_or(|chunks| usize::from(chunks.depth) <= MAX_CHUNK_DEPTH);
        let lengths = !self.lengths.iter().any(|length| {
            matches!(length, Length::IndefiniteEvenIfPrimitive)
                || matches!(length, Length::Long(octets) if !(1..=4).contains(octets))
        });
        let padding = self.padding_bend.is_none();
        (key && label && chunks && lengths && padding).then_some(self.plaintext)
    }

    /// The envelope, and what became of it.
    #[must_use]
    pub fn envelopes(&self) -> (Vec<u8>, Vec<u8>) {
        let mut tree = self.tree();
        let good = self.encode(&tree);
        for bend in &self.bends {
            bend.apply(&mut tree);
        }
        let mut bent = self.encode(&tree);
        for bend in &self.last_bends {
            bend.apply(&mut bent);
        }
        (good, bent)
    }

    fn wrapped_key(&self) -> (usize, &'static [u8]) {
        let index = usize::from(self.wrapped_key >> 4).checked_rem(WRAPPED_KEYS.len()).unwrap_or(0);
        (index, &WRAPPED_KEYS[index])
    }

    fn tree(&self) -> Node {
        let mut parameters = vec![
            Node::Constructed(0xa0, vec![sha_256(self.nulls[0])]),
            Node::Constructed(
                0xa1,
                vec![sequence(vec![oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"), sha_256(self.nulls[1])])],
            ),
        ];
        if let Some(label) = self.label {
            let label =
                vec![oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x09"), Node::Primitive(0x04, label.to_vec())];
            parameters.push(Node::Constructed(0xa2, vec![sequence(label)]));
        }
        let recipient = sequence(vec![
            Node::Primitive(0x02, vec![2]),
            Node::Primitive(0x80, RECIPIENT.to_vec()),
            sequence(vec![oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"), sequence(parameters)]),
            Node::Primitive(0x04, self.wrapped_key().1.to_vec()),
        ]);
        let content = sequence(vec![
            oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"),
            sequence(vec![
                oid(b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a"),
                Node::Primitive(0x04, self.iv.to_vec()),
            ]),
            self.content(),
        ]);
        let data =
            sequence(vec![Node::Primitive(0x02, vec![2]), Node::Constructed(0x31, vec![recipient]), content]);
        sequence(vec![oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"), Node::Constructed(0xa0, vec![data])])
    }

    fn content(&self) -> Node {
        let mut ciphertext = self.padded();
        let length = ciphertext.len();
        cbc::Encryptor::<Aes256>::new_from_slices(&[CONTENT_KEY_BYTE; 32], &self.iv)
            .expect("the sizes of AES")
            .encrypt_padded::<NoPadding>(&mut ciphertext, length)
            .expect("whole blocks");
        let Some(Chunks { sizes, depth }) = &self.chunks else { return Node::Primitive(0x80, ciphertext) };
        let mut rest = &ciphertext[..];
        let mut chunks = Vec::new();
        for size in sizes {
            let (chunk, after) = rest.split_at(rest.len().min(usize::from(*size)));
            chunks.push(Node::Primitive(0x04, chunk.to_vec()));
            rest = after;
        }
        let mut last = Node::Primitive(0x04, rest.to_vec());
        for _ in 0..*depth {
            last = Node::Constructed(0x24, vec![last]);
        }
        chunks.push(last);
        Node::Constructed(0xa0, chunks)
    }

    fn padded(&self) -> Vec<u8> {
        let count = 16 - self.plaintext.len() % 16;
        let mut padded = [self.plaintext, &vec![count as u8; count]].concat();
        if let Some((before_end, bits)) = self.padding_bend {
            let at = padded.len() - 1 - usize::from(before_end) % count;
            padded[at] ^= bits;
        }
        padded
    }

    fn encode(&self, tree: &Node) -> Vec<u8> {
        tree.encode(&mut self.lengths.iter().copied())
    }
}

fn sequence(elements: Vec<Node>) -> Node {
    Node::Constructed(0x30, elements)
}

fn oid(contents: &[u8]) -> Node {
    Node::Primitive(0x06, contents.to_vec())
}

fn sha_256(null: bool) -> Node {
    let null = null.then(|| Node::Primitive(0x05, Vec::new()));
    sequence([oid(SHA_256)].into_iter().chain(null).collect())
}

impl Node {
    fn encode(&self, lengths: &mut impl Iterator<Item = Length>) -> Vec<u8> {
        let spelling = lengths.next().unwrap_or(Length::Shortest);
        let (tag, contents, primitive) = match self {
            Self::Primitive(tag, contents) => (*tag, contents.clone(), true),
            Self::Constructed(tag, elements) => {
                let contents: Vec<Vec<u8>> = elements.iter().map(|element| element.encode(lengths)).collect();
                (*tag, contents.concat(), false)
            }
        };
        let shortest =
            contents.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let (length, end): (Vec<u8>, &[u8]) = match spelling {
            Length::Indefinite if !primitive => (vec![0x80], &[0, 0]),
            Length::IndefiniteEvenIfPrimitive => (vec![0x80], &[0, 0]),
            Length::Long(octets) => {
                let octets = usize::from(octets).clamp(shortest.len().max(1), 126);
                let zeros = vec![0; octets - shortest.len()];
                ([&[0x80 | octets as u8][..], &zeros, &shortest].concat(), &[])
            }
            _ if contents.len() < 128 => (vec![contents.len() as u8], &[]),
            _ => ([&[0x80 | shortest.len() as u8][..], &shortest].concat(), &[]),
        };
        [&[tag], &length[..], &contents, end].concat()
    }

    /// The element of this number, its parent's list and its place there.
    fn find(&mut self, number: u8) -> Option<(&mut Vec<Node>, usize)> {
        fn find<'a>(elements: &'a mut Vec<Node>, left: &mut usize) -> Option<(&'a mut Vec<Node>, usize)> {
            let mut place = None;
            for (index, element) in elements.iter().enumerate() {
                if *left < element.count() {
                    place = Some(index);
                    break;
                }
                *left -= element.count();
            }
            let place = place?;
            if *left == 0 {
                return Some((elements, place));
            }
            *left -= 1;
            match &mut elements[place] {
                Node::Primitive(..) => None,
                Node::Constructed(_, elements) => find(elements, left),
            }
        }
        let Self::Constructed(_, elements) = self else { return None };
        find(elements, &mut usize::from(number))
    }

    /// It and all in it.
    fn count(&self) -> usize {
        match self {
            Self::Primitive(..) => 1,
            Self::Constructed(_, elements) => 1 + elements.iter().map(Self::count).sum::<usize>(),
        }
    }
}

impl Bend<'_> {
    fn apply(&self, tree: &mut Node) {
        let (Self::Remove(at)
        | Self::Double(at)
        | Self::Tag(at, _)
        | Self::Contents(at, _)
        | Self::Wrap(at, _)
        | Self::Insert(at, ..)
        | Self::Swap(at, _)) = self;
        // Doubling and wrapping make a tree that more of the same would make too large to be of use.
        if tree.count() > 200 {
            return;
        }
        let Some((elements, place)) = tree.find(*at) else { return };
        match self {
            Self::Remove(_) => {
                elements.remove(place);
            }
            Self::Double(_) => elements.insert(place, elements[place].clone()),
            Self::Tag(_, new) => {
                let (Node::Primitive(tag, _) | Node::Constructed(tag, _)) = &mut elements[place];
                *tag = *new;
            }
            Self::Contents(_, new) => {
                if let Node::Primitive(_, contents) = &mut elements[place] {
                    *contents = new.to_vec();
                }
            }
            Self::Wrap(_, tag) => {
                let element = elements.remove(place);
                elements.insert(place, Node::Constructed(*tag, vec![element]));
            }
            Self::Insert(_, tag, contents) => {
                elements.insert(place, Node::Primitive(*tag, contents.to_vec()));
            }
            Self::Swap(_, other) => {
                let other = usize::from(*other) % elements.len();
                elements.swap(place, other);
            }
        }
    }
}

impl ByteBend {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let position = |at: &u16| usize::from(*at).checked_rem(bytes.len());
        match self {
            Self::Flip(at, bits) => {
                if let Some(at) = position(at) {
                    bytes[at] ^= bits;
                }
            }
            Self::Remove(at) => {
                if let Some(at) = position(at) {
                    bytes.remove(at);
                }
            }
            Self::Insert(at, byte) => bytes.insert(position(at).unwrap_or(0), *byte),
            Self::Cut(at) => bytes.truncate(position(at).unwrap_or(0)),
            Self::Append(byte) => bytes.push(*byte),
        }
    }
}
