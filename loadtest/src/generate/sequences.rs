//! The parts that the tables cannot express: the sequences of each modality's definition, and elements that depend on the shape.

use super::element::{Elements, Row};
use super::shape::Shape;

/// A code of one scheme (PS3.3 §8).
fn code(value: &'static str, scheme: &'static str, meaning: &'static str) -> Vec<Elements> {
    vec![Elements::of(&[
        (0x0008, 0x0100, "SH", value),
        (0x0008, 0x0102, "SH", scheme),
        (0x0008, 0x0104, "LO", meaning),
    ])]
}

/// The elements that digital radiography and mammography share (PS3.3 §C.8.11).
pub(super) fn projection(elements: &mut Elements, mammography: bool) {
    elements.rows(&[
        (0x0008, 0x0008, "CS", "ORIGINAL\\PRIMARY\\"),
        (0x0008, 0x0068, "CS", "FOR PRESENTATION"),
        (0x0018, 0x1164, "DS", "0.15\\0.15"),
        (0x0018, 0x7004, "CS", "DIRECT"),
        (0x0028, 0x1040, "CS", "LIN"),
        (0x0028, 0x1041, "SS", ""),
        (0x0028, 0x1050, "DS", "2048"),
        (0x0028, 0x1051, "DS", "4096"),
        (0x0028, 0x1052, "DS", "0"),
        (0x0028, 0x1053, "DS", "1"),
        (0x0028, 0x1054, "LO", "US"),
        (0x0028, 0x0301, "CS", "NO"),
        (0x0028, 0x2110, "CS", "00"),
        (0x2050, 0x0020, "CS", "IDENTITY"),
    ]);
    // Pixel Intensity Relationship Sign: high values are dense.
    elements.bytes((0x0028, 0x1041), "SS", vec![1, 0]);
    elements.sequence((0x0040, 0x0555), Vec::new());
    if !mammography {
        elements.sequence((0x0008, 0x2218), code("51185008", "SCT", "Chest"));
        return;
    }
    elements.sequence((0x0008, 0x2218), code("76752008", "SCT", "Breast"));
    let mut view = code("399162004", "SCT", "cranio-caudal");
    if let Some(view) = view.first_mut() {
        view.sequence((0x0054, 0x0222), Vec::new());
    }
    elements.sequence((0x0054, 0x0220), view);
}

const TOMOSYNTHESIS_FRAME: &[Row] = &[
    (0x0008, 0x9007, "CS", "ORIGINAL\\PRIMARY\\TOMOSYNTHESIS\\NONE"),
    (0x0008, 0x9205, "CS", "MONOCHROME"),
    (0x0008, 0x9206, "CS", "VOLUME"),
    (0x0008, 0x9207, "CS", "TOMOSYNTHESIS"),
];

/// Functional groups of a tomosynthesis volume: what all frames share, and the place of each (PS3.3 §A.55).
pub(super) fn tomosynthesis(elements: &mut Elements, frames: u32) {
    let mut view = code("399162004", "SCT", "cranio-caudal");
    if let Some(view) = view.first_mut() {
        view.sequence((0x0054, 0x0222), Vec::new());
    }
    elements.sequence((0x0054, 0x0220), view);
    elements.sequence((0x0040, 0x0555), Vec::new());

    let mut anatomy = Elements::of(&[(0x0020, 0x9072, "CS", "L")]);
    anatomy.sequence((0x0008, 0x2218), code("76752008", "SCT", "Breast"));
    let mut shared = Elements::default();
    let groups: [(_, &[Row]); 4] = [
        ((0x0028, 0x9110), &[(0x0018, 0x0050, "DS", "1"), (0x0028, 0x0030, "DS", "0.1\\0.1")]),
        ((0x0020, 0x9116), &[(0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0")]),
        ((0x0028, 0x9132), &[(0x0028, 0x1050, "DS", "2048"), (0x0028, 0x1051, "DS", "4096")]),
        ((0x0028, 0x9145), &[(0x0028, 0x1052, "DS", "0"), (0x0028, 0x1053, "DS", "1"), (0x0028, 0x1054, "LO", "US")]),
    ];
    for (tag, rows) in groups {
        shared.sequence(tag, vec![Elements::of(rows)]);
    }
    shared.sequence((0x0020, 0x9071), vec![anatomy]);
    elements.sequence((0x5200, 0x9229), vec![shared]);

    let per_frame = (0..frames).map(|frame| {
        let number = (frame + 1).to_string();
        let mut content = Elements::of(&[(0x0020, 0x9056, "SH", "1")]);
        content.text((0x0020, 0x9057), "UL", &number);
        content.text((0x0020, 0x9157), "UL", &number);
        content.text((0x0018, 0x9074), "DT", "20240102030405");
        content.text((0x0018, 0x9151), "DT", "20240102030405");
        content.text((0x0018, 0x9220), "FD", "1");
        let mut position = Elements::default();
        position.text((0x0020, 0x0032), "DS", &format!("0\\0\\{frame}"));
        let mut groups = Elements::default();
        groups.sequence((0x0020, 0x9111), vec![content]);
        groups.sequence((0x0020, 0x9113), vec![position]);
        groups.sequence((0x0018, 0x9504), vec![Elements::of(TOMOSYNTHESIS_FRAME)]);
        groups
    });
    let per_frame = per_frame.collect();
    elements.sequence((0x5200, 0x9230), per_frame);
    elements.sequence((0x0020, 0x9221), vec![dimension_organization()]);
    let mut index = dimension_organization();
    index.rows(&[(0x0020, 0x9165, "AT", "00200032"), (0x0020, 0x9167, "AT", "00209113")]);
    elements.sequence((0x0020, 0x9222), vec![index]);
}

fn dimension_organization() -> Elements {
    Elements::of(&[(0x0020, 0x9164, "UI", "2.25.161803398874989484820458683436563811")])
}

/// The slide, its specimen and its optical path; tiles cover the whole matrix in order, so that no frame needs a place of its
/// own (PS3.3 §C.8.12.4).
pub(super) fn whole_slide(elements: &mut Elements, shape: &Shape) {
    // As square as the number of tiles allows: every place of the matrix has its tile.
    let root = f64::from(shape.frames).sqrt() as u32;
    let across = (1..=root).rev().find(|across| shape.frames.is_multiple_of(*across)).unwrap_or(1);
    let down = shape.frames / across;
    elements.text((0x0048, 0x0006), "UL", &(across * u32::from(shape.columns)).to_string());
    elements.text((0x0048, 0x0007), "UL", &(down * u32::from(shape.rows)).to_string());
    elements.sequence((0x0020, 0x9221), vec![dimension_organization()]);
    elements
        .sequence((0x0048, 0x0008), vec![Elements::of(&[(0x0040, 0x072A, "DS", "20"), (0x0040, 0x073A, "DS", "40")])]);
    let mut shared = Elements::default();
    shared.sequence(
        (0x0028, 0x9110),
        vec![Elements::of(&[(0x0018, 0x0050, "DS", "0.001"), (0x0028, 0x0030, "DS", "0.0005\\0.0005")])],
    );
    shared.sequence((0x0040, 0x0710), vec![Elements::of(&[(0x0008, 0x9007, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE")])]);
    elements.sequence((0x5200, 0x9229), vec![shared]);

    let mut path = Elements::of(&[(0x0048, 0x0106, "SH", "1")]);
    path.sequence((0x0022, 0x0016), code("111744", "DCM", "Brightfield illumination"));
    path.sequence((0x0048, 0x0108), code("414298005", "SCT", "Full Spectrum"));
    path.bytes((0x0028, 0x2000), "OB", icc_profile());
    elements.sequence((0x0048, 0x0105), vec![path]);

    let mut specimen = Elements::of(&[
        (0x0040, 0x0551, "LO", "SPECIMEN1"),
        (0x0040, 0x0554, "UI", "2.25.141421356237309504880168872420969807"),
    ]);
    specimen.sequence((0x0040, 0x0562), Vec::new());
    specimen.sequence((0x0040, 0x0610), Vec::new());
    elements.sequence((0x0040, 0x0560), vec![specimen]);
    elements.sequence((0x0040, 0x0513), Vec::new());
    elements.sequence((0x0040, 0x0518), code("433466003", "SCT", "Microscope slide"));
    elements.sequence((0x0040, 0x0555), Vec::new());
}

/// The smallest header that is a profile of class input, RGB to XYZ, with no tags: enough for those who only carry it.
fn icc_profile() -> Vec<u8> {
    let mut profile = vec![0; 132];
    for (at, value) in [(0, &[0, 0, 0, 132][..]), (8, &[2, 0x40]), (12, b"scnrRGB XYZ "), (36, b"acsp")] {
        for (place, byte) in profile.iter_mut().skip(at).zip(value) {
            *place = *byte;
        }
    }
    profile
}

/// A report of one heading and a few paragraphs (PS3.3 §A.35.1).
pub(super) fn text_report(elements: &mut Elements) {
    elements.sequence((0x0008, 0x1111), Vec::new());
    elements.sequence((0x0040, 0xA043), code("18782-3", "LN", "X-Ray Report"));
    elements.sequence((0x0040, 0xA372), Vec::new());
    let paragraph = "The lungs are clear. The heart is of normal size. No pleural effusion. ";
    let findings = (0..8).map(|number| {
        let mut item = Elements::of(&[(0x0040, 0xA010, "CS", "CONTAINS"), (0x0040, 0xA040, "CS", "TEXT")]);
        item.sequence((0x0040, 0xA043), code("121071", "DCM", "Finding"));
        item.text((0x0040, 0xA160), "UT", paragraph.repeat(number + 1).trim_end());
        item
    });
    let findings = findings.collect();
    elements.sequence((0x0040, 0xA730), findings);
}

/// A presentation state that shows the whole of one CT image (PS3.3 §A.33.1).
pub(super) fn presentation_state(elements: &mut Elements) {
    let image = Elements::of(&[
        (0x0008, 0x1150, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        (0x0008, 0x1155, "UI", "2.25.271828182845904523536028747135266249"),
    ]);
    let mut series = Elements::of(&[(0x0020, 0x000E, "UI", "2.25.271828182845904523536028747135266250")]);
    series.sequence((0x0008, 0x1140), vec![image.clone()]);
    elements.sequence((0x0008, 0x1115), vec![series]);
    let mut area = Elements::of(&[(0x0070, 0x0100, "CS", "SCALE TO FIT"), (0x0070, 0x0101, "DS", "0.5\\0.5")]);
    for (tag, x, y) in [((0x0070, 0x0052), 1_i32, 1_i32), ((0x0070, 0x0053), 512, 512)] {
        area.text(tag, "SL", &format!("{x}\\{y}"));
    }
    area.sequence((0x0008, 0x1140), vec![image]);
    elements.sequence((0x0070, 0x005A), vec![area]);
}
