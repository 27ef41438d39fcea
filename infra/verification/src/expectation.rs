//! The expectations of an enclave.

use attestation::{Document, Root};

use crate::doubt::Doubt;
use crate::expected_pcrs::{Difference, ExpectedPcrs};
use crate::exposure::Exposure;

/// The accepted enclaves. An enclave in debug mode is never accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    root: Root,
    images: Images,
    accepts_http: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Images {
    Any,
    OneOf(Vec<ExpectedPcrs>),
}

/// The image that an enclave runs, of the expected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// No image was expected: an unknown program.
    Any,
    /// The image at this place of the list.
    Expected(usize),
}

impl Expectation {
    /// An enclave of AWS's hardware that runs one of these images: during a roll-over there are two.
    ///
    /// # Errors
    /// [`Doubt::NothingExpected`] for none.
    pub fn one_of(images: Vec<ExpectedPcrs>) -> Result<Self, Doubt> {
        if images.is_empty() {
            return Err(Doubt::NothingExpected);
        }
        Ok(Self::of(Images::OneOf(images)))
    }

    /// Any enclave of AWS's hardware with any program. Any AWS customer can start one, so a secret that is sent to it
    /// goes to the author of an unknown program.
    #[must_use]
    pub fn any_image() -> Self {
        Self::of(Images::Any)
    }

    fn of(images: Images) -> Self {
        Self { root: Root::aws_g1(), images, accepts_http: false }
    }

    /// Takes another root than AWS's, for tests. The holder of its key can pass for any enclave.
    #[must_use]
    pub fn with_root(self, root: Root) -> Self {
        Self { root, ..self }
    }

    /// Accepts that a connection has no TLS. The document then proves that such an enclave exists, not that it is at
    /// the other end.
    #[must_use]
    pub fn accepting_http(self) -> Self {
        Self { accepts_http: true, ..self }
    }

    /// The root that certificates have to lead to.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The settings by which this image gives trust away, from the file with its noted registers. Registers alone do
    /// not show them.
    #[must_use]
    pub fn exposures_of(&self, image: Image) -> &[Exposure] {
        match (&self.images, image) {
            (Images::OneOf(images), Image::Expected(place)) => {
                images.get(place).map_or(&[], ExpectedPcrs::exposures)
            }
            _ => &[],
        }
    }

    pub(crate) const fn accepts_http(&self) -> bool {
        self.accepts_http
    }

    /// The image that `document` describes, of the expected ones. Does not check whether the document is authentic.
    ///
    /// # Errors
    /// [`Doubt::PcrMissing`] or [`Doubt::OtherImage`] if one is expected, [`Doubt::NoneOfImages`] if more are.
    pub fn image_of(&self, document: &Document) -> Result<Image, Doubt> {
        let Images::OneOf(images) = &self.images else { return Ok(Image::Any) };
        let mut first = None;
        for (place, image) in images.iter().enumerate() {
            match image.first_difference(&document.pcrs) {
                None => return Ok(Image::Expected(place)),
                Some(difference) => first = first.or(Some(difference)),
            }
        }
        Err(match (images.len(), first) {
            (1, Some(Difference::Missing(index))) => Doubt::PcrMissing(index),
            (1, Some(Difference::Other(index))) => Doubt::OtherImage(index),
            (count, _) => Doubt::NoneOfImages(count),
        })
    }
}
