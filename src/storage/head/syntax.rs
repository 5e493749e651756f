//! What a transfer syntax says of the datasets in it, and the one of several that is true for a dataset.

use dicom_dictionary_std::tags;

use super::element::{Encoding, Header, UNDEFINED_LENGTH};

/// Every UID the standard assigns starts so; what does not is private.
const STANDARD_ROOT: &str = "1.2.840.10008.";

/// Every transfer syntax of the standard but Papyrus 3 is this one or an arc below it (PS3.6 table A-1).
const TRANSFER_SYNTAX_ARC: &str = "1.2.840.10008.1.2";

/// Deflated explicit VR little endian.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// The form of the pixel data of a dataset (PS3.5 §8.2, §A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PixelForm {
    /// One value of defined length.
    Native,
    /// Fragments, as items behind an undefined length.
    Encapsulated,
}

impl PixelForm {
    /// The form of the pixel data of a dataset itself; `None`: the element is another one.
    pub(crate) fn of(header: &Header) -> Option<Self> {
        (header.tag == tags::PIXEL_DATA).then_some(match header.length {
            UNDEFINED_LENGTH => Self::Encapsulated,
            _ => Self::Native,
        })
    }

    /// The name in error texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Encapsulated => "encapsulated",
        }
    }
}

/// What a transfer syntax says of its datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// How the elements are written. A syntax that is not known is taken as explicit VR little endian, which every compressed one
    /// is (PS3.5 §A.4).
    pub(crate) encoding: Encoding,
    pub(crate) is_deflated: bool,
    /// The form that pixel data must have; `None`: any.
    pub(crate) pixels: Option<PixelForm>,
    /// The syntax says nothing but how the elements are written, or that the same is deflated.
    pub(crate) is_native: bool,
    /// The syntax is not the standard's, so its datasets may be anything.
    pub(crate) is_private: bool,
}

impl Syntax {
    /// Of a UID without padding.
    pub(crate) fn of(uid: &str) -> Self {
        let (encoding, is_deflated) = match uid {
            // Implicit VR little endian; Papyrus 3; GE private, big endian in its pixel data only.
            "1.2.840.10008.1.2" | "1.2.840.10008.1.20" | "1.2.840.113619.5.2" => (Encoding::ImplicitLe, false),
            "1.2.840.10008.1.2.2" => (Encoding::ExplicitBe, false),
            // And JPIP referenced deflate; JPIP HTJ2K referenced deflate.
            DEFLATED | "1.2.840.10008.1.2.4.95" | "1.2.840.10008.1.2.4.205" => (Encoding::ExplicitLe, true),
            _ => (Encoding::ExplicitLe, false),
        };
        let is_native = encoding.transfer_syntax_uid() == uid || uid == DEFLATED;
        let pixels = match is_native {
            true => Some(PixelForm::Native),
            false => is_encapsulated(uid).then_some(PixelForm::Encapsulated),
        };
        Self { encoding, is_deflated, pixels, is_native, is_private: !uid.starts_with(STANDARD_ROOT) }
    }

    /// How the bytes of a dataset are to be read.
    pub(super) fn reading(&self) -> Reading {
        Reading { encoding: self.encoding, is_deflated: self.is_deflated }
    }
}

/// Whether pixel data in the syntax are always encapsulated: those of JPEG, MPEG, JPEG 2000 and their like, RLE, encapsulated uncompressed
/// and deflated frames (PS3.5 §A.4). The syntaxes of JPIP refer to pixel data instead (§A.6).
fn is_encapsulated(uid: &str) -> bool {
    match uid.strip_prefix(TRANSFER_SYNTAX_ARC) {
        Some(".4.94" | ".4.95" | ".4.204" | ".4.205") => false,
        Some(".1.98" | ".5" | ".8.1") => true,
        Some(arc) => arc.starts_with(".4."),
        None => false,
    }
}

/// How the bytes of a dataset are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) encoding: Encoding,
    pub(super) is_deflated: bool,
}

/// The evidence for another transfer syntax than that of the presentation context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The first elements are in the encoding of the true one.
    Elements,
    /// The pixel data are native, though the syntax is a compressed one.
    PixelData,
    /// File meta in front of the dataset names the true one, and elements and pixel data agree.
    FileMeta,
}

/// A transfer syntax that a file may be labelled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// The one that file meta in front of the dataset names.
    Named,
    /// The one of the presentation context.
    Announced,
    /// The native one of the encoding that the elements are in.
    Elements,
}

/// The transfer syntaxes that may be true for a dataset whose opening is known.
#[derive(Debug)]
pub(super) struct Labels {
    announced: Syntax,
    named: Option<(String, Syntax)>,
    reading: Reading,
}

impl Labels {
    /// For a dataset that is read so. `named`: the UID in the file meta in front of it. It is a hint of the sender, and counts if the standard has it.
    pub(super) fn new(announced: Syntax, reading: Reading, named: Option<String>) -> Self {
        let named = named.filter(|uid| uid.starts_with(TRANSFER_SYNTAX_ARC)).map(|uid| {
            let syntax = Syntax::of(&uid);
            (uid, syntax)
        });
        Self { announced, named, reading }
    }

    /// The labels that agree with the elements, best first.
    fn candidates(&self) -> impl Iterator<Item = Label> {
        let announced = self.announced.reading() == self.reading;
        let named = self.named.as_ref().is_some_and(|(_, syntax)| syntax.reading() == self.reading);
        // Of a compressed syntax nothing remains if its elements are in another encoding: such a dataset is not understood.
        let elements = !self.reading.is_deflated && (announced || self.announced.is_native);
        [(Label::Named, named), (Label::Announced, announced), (Label::Elements, elements)]
            .into_iter()
            .filter_map(|(label, agrees)| agrees.then_some(label))
    }

    /// The form that pixel data must have under the label; `None`: any.
    fn pixels(&self, label: Label) -> Option<PixelForm> {
        match label {
            Label::Named => self.named.as_ref().and_then(|(_, syntax)| syntax.pixels),
            Label::Announced => self.announced.pixels,
            Label::Elements => Some(PixelForm::Native),
        }
    }

    /// Whether pixel data of this form may stand under the label.
    pub(super) fn allows(&self, label: Label, form: PixelForm) -> bool {
        self.pixels(label).is_none_or(|expected| expected == form)
    }

    /// Whether the label depends on the pixel data.
    pub(super) fn depend_on_pixels(&self) -> bool {
        let mut forms = self.candidates().map(|label| self.pixels(label));
        let first = forms.next().flatten();
        first.is_some() && forms.any(|form| form != first)
    }

    /// The best label for pixel data of this form, or without any; if none allows them, the best for the elements. `None`: the
    /// elements fit no label.
    pub(super) fn choose(&self, form: Option<PixelForm>) -> Option<Label> {
        let fits = |label: &Label| form.is_none_or(|form| self.allows(*label, form));
        self.candidates().find(fits).or_else(|| self.candidates().next())
    }

    /// The transfer syntax of a label other than the announced one, and the evidence for it.
    pub(super) fn other_than_announced(&self, label: Label) -> Option<(&str, Evidence)> {
        match label {
            Label::Announced => None,
            Label::Named => self.named.as_ref().map(|(uid, _)| (uid.as_str(), Evidence::FileMeta)),
            Label::Elements => {
                let is_of_pixels = self.announced.reading() == self.reading;
                let evidence = if is_of_pixels { Evidence::PixelData } else { Evidence::Elements };
                Some((self.reading.encoding.transfer_syntax_uid(), evidence))
            }
        }
    }
}
