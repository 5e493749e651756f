//! One valid CT Image Storage dataset of a chosen size, with the places of the UIDs that differ between instances.

use clap::ValueEnum;

use crate::uid::{UID_LENGTH, UidKind, uid};

/// CT Image Storage (PS3.6 table A-1).
pub(crate) const CT_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.2";

/// The most bytes that one dataset's pixel data can have: an even 32-bit length that is not the undefined one.
pub(crate) const MAX_SIZE_BYTES: u64 = 0xFFFF_FFFC;

/// How the dataset is encoded (PS3.5 §A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransferSyntax {
    /// Explicit VR Little Endian
    Explicit,
    /// Implicit VR Little Endian
    Implicit,
}

impl TransferSyntax {
    pub(crate) fn uid(self) -> &'static str {
        match self {
            Self::Explicit => "1.2.840.10008.1.2.1",
            Self::Implicit => "1.2.840.10008.1.2",
        }
    }
}

/// An encoded dataset and the offsets of its patchable UIDs, each [`UID_LENGTH`] bytes long.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sop_instance_at: usize,
    pub(crate) study_at: usize,
    pub(crate) series_at: usize,
}

impl Dataset {
    /// A 16-bit CT image whose pixel data has `size_bytes` bytes, rounded down to whole rows: 512 columns wide, so that
    /// 512 KiB is 512 × 512, narrower below one such row and wider above 65 535 of them.
    pub(crate) fn ct_image(size_bytes: u64, syntax: TransferSyntax, seed: u64) -> Self {
        let (rows, columns) = dimensions(size_bytes.min(MAX_SIZE_BYTES));
        let pixel_bytes = usize::from(rows) * usize::from(columns) * 2;
        let mut writer = ElementWriter { bytes: Vec::with_capacity(pixel_bytes + 2048), syntax };

        writer.text((0x0008, 0x0005), "CS", "ISO_IR 100");
        writer.text((0x0008, 0x0008), "CS", "ORIGINAL\\PRIMARY\\AXIAL");
        writer.uid((0x0008, 0x0016), CT_IMAGE_STORAGE.as_bytes());
        let sop_instance_at = writer.patched_uid((0x0008, 0x0018));
        writer.text((0x0008, 0x0020), "DA", "20240102");
        writer.text((0x0008, 0x0030), "TM", "030405");
        writer.text((0x0008, 0x0050), "SH", "LOADTEST");
        writer.text((0x0008, 0x0060), "CS", "CT");
        writer.text((0x0008, 0x0070), "LO", "Tidegate load test");
        writer.text((0x0008, 0x0090), "PN", "");
        writer.text((0x0010, 0x0010), "PN", "Load^Test");
        writer.text((0x0010, 0x0020), "LO", &format!("LT{seed}"));
        writer.text((0x0010, 0x0030), "DA", "");
        writer.text((0x0010, 0x0040), "CS", "O");
        writer.text((0x0018, 0x0050), "DS", "1");
        writer.text((0x0018, 0x0060), "DS", "120");
        writer.text((0x0018, 0x5100), "CS", "HFS");
        let study_at = writer.patched_uid((0x0020, 0x000D));
        let series_at = writer.patched_uid((0x0020, 0x000E));
        writer.text((0x0020, 0x0010), "SH", "1");
        writer.text((0x0020, 0x0011), "IS", "1");
        writer.text((0x0020, 0x0012), "IS", "1");
        writer.text((0x0020, 0x0013), "IS", "1");
        writer.text((0x0020, 0x0032), "DS", "0\\0\\0");
        writer.text((0x0020, 0x0037), "DS", "1\\0\\0\\0\\1\\0");
        writer.uid((0x0020, 0x0052), &uid(seed, 0, UidKind::FrameOfReference, 0));
        writer.text((0x0020, 0x1040), "LO", "");
        writer.short((0x0028, 0x0002), 1);
        writer.text((0x0028, 0x0004), "CS", "MONOCHROME2");
        writer.short((0x0028, 0x0010), rows);
        writer.short((0x0028, 0x0011), columns);
        writer.text((0x0028, 0x0030), "DS", "0.5\\0.5");
        writer.short((0x0028, 0x0100), 16);
        writer.short((0x0028, 0x0101), 12);
        writer.short((0x0028, 0x0102), 11);
        writer.short((0x0028, 0x0103), 0);
        writer.text((0x0028, 0x1052), "DS", "-1024");
        writer.text((0x0028, 0x1053), "DS", "1");
        writer.noise((0x7FE0, 0x0010), pixel_bytes, seed);

        Self { bytes: writer.bytes, sop_instance_at, study_at, series_at }
    }
}

/// Rows and columns of an image with at most `size_bytes` bytes of 16-bit pixels, and at least one pixel.
fn dimensions(size_bytes: u64) -> (u16, u16) {
    let pixels = (size_bytes / 2).max(1);
    let mut columns = pixels.min(512);
    while pixels / columns > u64::from(u16::MAX) {
        columns = (columns * 2).min(u64::from(u16::MAX));
    }
    let rows = pixels / columns;
    (u16::try_from(rows).unwrap_or(u16::MAX), u16::try_from(columns).unwrap_or(u16::MAX))
}

/// Writes little endian data elements (PS3.5 §7.1).
struct ElementWriter {
    bytes: Vec<u8>,
    syntax: TransferSyntax,
}

impl ElementWriter {
    fn header(&mut self, (group, element): (u16, u16), vr: &str, length: usize) {
        self.bytes.extend_from_slice(&group.to_le_bytes());
        self.bytes.extend_from_slice(&element.to_le_bytes());
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match self.syntax {
            TransferSyntax::Implicit => self.bytes.extend_from_slice(&length.to_le_bytes()),
            TransferSyntax::Explicit if vr == "OW" => {
                self.bytes.extend_from_slice(vr.as_bytes());
                self.bytes.extend_from_slice(&[0, 0]);
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
            TransferSyntax::Explicit => {
                self.bytes.extend_from_slice(vr.as_bytes());
                // Only the short values above are written this way.
                self.bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
            }
        }
    }

    fn padded(&mut self, tag: (u16, u16), vr: &str, value: &[u8], padding: u8) -> usize {
        self.header(tag, vr, value.len() + value.len() % 2);
        let value_at = self.bytes.len();
        self.bytes.extend_from_slice(value);
        if value.len() % 2 == 1 {
            self.bytes.push(padding);
        }
        value_at
    }

    fn text(&mut self, tag: (u16, u16), vr: &str, value: &str) {
        self.padded(tag, vr, value.as_bytes(), b' ');
    }

    fn uid(&mut self, tag: (u16, u16), value: &[u8]) {
        self.padded(tag, "UI", value, 0);
    }

    /// Leaves room for a generated UID and says where.
    fn patched_uid(&mut self, tag: (u16, u16)) -> usize {
        self.padded(tag, "UI", &[b'0'; UID_LENGTH], 0)
    }

    fn short(&mut self, tag: (u16, u16), value: u16) {
        self.header(tag, "US", 2);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// 12-bit noise: nothing on the way can compress or deduplicate it.
    fn noise(&mut self, tag: (u16, u16), length: usize, seed: u64) {
        self.header(tag, "OW", length);
        let end = self.bytes.len() + length;
        let mut state = seed;
        while self.bytes.len() < end {
            // SplitMix64, which every seed, zero too, starts well.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            word = (word ^ (word >> 31)) & 0x0FFF_0FFF_0FFF_0FFF;
            let left = end - self.bytes.len();
            self.bytes.extend(word.to_le_bytes().into_iter().take(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::tags;
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

    use super::*;

    fn read(dataset: &Dataset, syntax: TransferSyntax) -> InMemDicomObject {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(syntax.uid())
            .media_storage_sop_class_uid(CT_IMAGE_STORAGE)
            .media_storage_sop_instance_uid("1.2.3")
            .build()
            .unwrap();
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        meta.write(&mut file).unwrap();
        file.extend_from_slice(&dataset.bytes);
        dicom_object::from_reader(&file[..]).unwrap().into_inner()
    }

    #[test]
    fn both_encodings_are_read_back_with_the_rows_and_pixels_asked_for() {
        for syntax in [TransferSyntax::Explicit, TransferSyntax::Implicit] {
            let dataset = Dataset::ct_image(512 * 1024, syntax, 7);
            let object = read(&dataset, syntax);
            let number = |tag| object.element(tag).unwrap().to_int::<u32>().unwrap();
            assert_eq!((number(tags::ROWS), number(tags::COLUMNS)), (512, 512));
            assert_eq!(object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len(), 512 * 1024);
            assert_eq!(object.element(tags::SOP_CLASS_UID).unwrap().to_str().unwrap(), CT_IMAGE_STORAGE);
        }
    }

    #[test]
    fn the_patchable_places_are_the_values_of_the_uids() {
        let mut dataset = Dataset::ct_image(64, TransferSyntax::Explicit, 7);
        let places = [
            (dataset.sop_instance_at, tags::SOP_INSTANCE_UID, UidKind::Instance),
            (dataset.study_at, tags::STUDY_INSTANCE_UID, UidKind::Study),
            (dataset.series_at, tags::SERIES_INSTANCE_UID, UidKind::Series),
        ];
        for (place, _, kind) in places {
            dataset.bytes[place..place + UID_LENGTH].copy_from_slice(&uid(7, 3, kind, 5));
        }
        let object = read(&dataset, TransferSyntax::Explicit);
        for (_, tag, kind) in places {
            let value = object.element(tag).unwrap().to_str().unwrap();
            assert_eq!(value.as_bytes(), uid(7, 3, kind, 5));
        }
    }

    #[test]
    fn sizes_scale_rows_then_columns_and_never_exceed_what_was_asked() {
        assert_eq!(dimensions(512 * 1024), (512, 512));
        assert_eq!(dimensions(10 * 1024), (10, 512));
        assert_eq!(dimensions(1), (1, 1));
        assert_eq!(dimensions(100), (1, 50));
        for size in [1 << 30, MAX_SIZE_BYTES] {
            let (rows, columns) = dimensions(size);
            let bytes = u64::from(rows) * u64::from(columns) * 2;
            assert!(bytes <= size && bytes > size - size / 1000, "{size}: {rows} × {columns}");
        }
    }
}
