//! Templates that are refused, and paths no value can break.

use std::path::Component as PathComponent;

use proptest::prelude::*;

use super::*;
use crate::uid::Uid;

fn meta(sop_instance_uid: &str) -> FileMeta {
    FileMeta {
        sop_class_uid: Uid::parse(b"1.2.840.10008.5.1.4.1.1.2").unwrap(),
        sop_instance_uid: Uid::parse(sop_instance_uid.as_bytes()).unwrap(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        source_ae_title: String::new(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    }
}

fn path(template: &str, values: &[(Tag, &[u8])], copy: u32) -> String {
    let layout = Layout::parse(template).unwrap();
    let path = layout.path(&meta("1.2.3"), &Head::with(values), copy);
    path.to_str().unwrap().to_owned()
}

/// The component that one value becomes.
fn component(value: &[u8]) -> String {
    let path = path("{PatientID}/{SOPInstanceUID}", &[(tags::PATIENT_ID, value)], 1);
    path.strip_suffix("/1.2.3").unwrap().to_owned()
}

#[test]
fn the_default_is_study_series_instance() {
    let values: &[(Tag, &[u8])] = &[(tags::STUDY_INSTANCE_UID, b"1.5\0"), (tags::SERIES_INSTANCE_UID, b"1.5.1")];
    assert_eq!(path(Layout::DEFAULT, values, 1), "1.5/1.5.1/1.2.3.dcm");
    assert_eq!(path(Layout::DEFAULT, values, 0), "1.5/1.5.1/1.2.3.dcm");
    assert_eq!(path(Layout::DEFAULT, values, 2), "1.5/1.5.1/1.2.3~2.dcm");
    assert_eq!(path(Layout::DEFAULT, &[], 1), "_/_/1.2.3.dcm");
}

#[test]
fn functions_apply_from_left_to_right() {
    let values: &[(Tag, &[u8])] = &[
        (tags::STUDY_DATE, b"20260131"),
        (tags::PATIENT_ID, b"  \0"),
        (tags::PATIENT_NAME, "\u{c4}\u{d6}\u{dc}".as_bytes()),
        (tags::STATION_NAME, b"\xff\xfe\xfd"),
    ];
    for (template, expected) in [
        ("{StudyDate|first:4}", "2026"),
        ("{StudyDate|first:4|hash:3}", "158"),
        ("{StudyDate|first:200}", "20260131"),
        ("{0008,0020}", "20260131"),
        ("{PatientID|or:unknown}", "unknown"),
        ("{PatientID}", "_"),
        ("{PatientID|or:unknown|first:2}", "un"),
        ("{PatientID|first:2|or:unknown}", "unknown"),
        ("{PatientName|first:1}", "%C3%84"),
        ("{StationName|first:2}", "%FF%FE"),
        ("{SOPInstanceUID|hash:4}", "c47f"),
        ("{SOPClassUID}", "1.2.840.10008.5.1.4.1.1.2"),
        ("y{StudyDate|first:4} of {PatientID|or:.x.}", "y2026 of %2Ex%2E"),
    ] {
        assert_eq!(path(&format!("{template}/{{SOPInstanceUID}}"), values, 1), format!("{expected}/1.2.3"));
    }
}

#[test]
fn a_copy_is_numbered_behind_the_sop_instance_uid_wherever_it_stands() {
    assert_eq!(path("{SOPInstanceUID|hash:2}/{SOPInstanceUID}/image.dcm", &[], 3), "c4/1.2.3~3/image.dcm");
    assert_eq!(path("a{SOPInstanceUID}5/{SOPInstanceUID}5", &[], 2), "a1.2.35/1.2.3~25");
}

#[test]
fn a_path_tells_which_copy_belongs_there() {
    for template in ["{SOPInstanceUID|hash:2}/{SOPInstanceUID}.dcm", "a{SOPInstanceUID}5/x", Layout::DEFAULT] {
        let layout = Layout::parse(template).unwrap();
        let (meta, head) = (meta("1.2.3"), Head::default());
        for copy in [1, 2, 17, 1000] {
            let path = layout.path(&meta, &head, copy);
            assert_eq!(layout.copy_at(&meta, &head, &path), Some(copy), "{template}");
            assert_eq!(layout.copy_at(&self::meta("1.2.4"), &head, &path), None, "{template}");
        }
        for elsewhere in ["", "1.2.3", "_/_/1.2.3~1.dcm", "_/_/1.2.3~02.dcm", "_/_/1.2.3~x.dcm", "_/1.2.3.dcm"] {
            assert_eq!(layout.copy_at(&meta, &head, Path::new(elsewhere)), None, "{template} {elsewhere}");
        }
    }
}

#[test]
fn values_are_encoded() {
    for (value, expected) in [
        (&b"P-1_a.b"[..], "P-1_a.b"),
        (b" P1 \0", "P1"),
        (b"a b", "a%20b"),
        (b"../../etc/passwd", "%2E./../etc/passwd"),
        (b".", "%2E"),
        (b"..", "%2E%2E"),
        (b".hidden.", "%2Ehidden%2E"),
        (b"a\\b\0c", "a%5Cb%00c"),
        (b"50%~", "50%25%7E"),
        (b"con", "%63on"),
        (b"Lpt1.txt", "%4Cpt1.txt"),
        (b"COM1x", "COM1x"),
        (b"NUL.", "NUL%2E"),
        (b"\xe9", "%E9"),
    ] {
        assert_eq!(component(value), expected.replace('/', "%2F"));
    }
}

#[test]
fn literals_and_values_together_make_no_reserved_name() {
    assert_eq!(path("COM{PatientID}/{SOPInstanceUID}", &[(tags::PATIENT_ID, b"1.x")], 1), "%43OM1.x/1.2.3");
    assert_eq!(path("nul .d/{SOPInstanceUID}", &[], 1), "%6Eul .d/1.2.3");
}

#[test]
fn a_long_value_is_cut_and_told_apart_by_its_hash() {
    let one = component(&[b'x'; 1000]);
    let other = component(&[b'x'; 999]);
    assert!(one.len() <= 255 && other.len() <= 255);
    assert_ne!(one, other);
    assert_eq!(one[..one.len() - 65], other[..other.len() - 65]);
    assert!(one.len() > 200, "most of the room is used");
    for kept in 0..3 {
        let value = [&b"abc"[..kept], &[b'/'; 300]].concat();
        let escaped = component(&value);
        let (front, _mark) = escaped.split_at(escaped.len() - 65);
        let slashes = (front.len() - kept) / 3;
        assert_eq!(front, format!("{}{}", &"abc"[..kept], "%2F".repeat(slashes)), "never cut within an escape");
        assert!(escaped.len() > one.len() - 3, "no more is cut than has to be");
    }
}

#[test]
fn a_value_with_the_least_room_is_cut_at_the_beginning_of_a_path_too() {
    // Three values and 44 bytes of text: not one byte more fits into a name.
    let template =
        |literal: usize| format!("{{PatientID}}{{StudyID}}{{Modality}}{}/{{SOPInstanceUID}}", "x".repeat(literal));
    assert!(Layout::parse(&template(45)).is_err());
    for literal in 40..=44 {
        for (byte, encoded) in [(b'/', "%2F"), (b'y', "y")] {
            let path = path(&template(literal), &[(tags::PATIENT_ID, &[byte; 300])], 1);
            let (front, _mark) = path.split_once('~').unwrap();
            assert_eq!(front, encoded.repeat(front.len() / encoded.len()), "never cut within an escape");
        }
    }
}

#[test]
fn uids_longer_than_the_standard_allows_have_names_of_their_own() {
    let layout = Layout::parse(Layout::DEFAULT).unwrap();
    let name = |length: usize, last: char, copy| {
        let path = layout.path(&meta(&format!("{}{last}", "1".repeat(length - 1))), &Head::default(), copy);
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    for length in [65, 200, 238, 239, 240, 254, 255] {
        assert!(name(length, '1', u32::MAX).len() <= 255);
        assert_ne!(name(length, '1', 1), name(length, '2', 1));
        assert_ne!(name(length, '1', 1), name(length - 1, '1', 1));
        assert_ne!(name(length, '1', 2), name(length, '1', 22));
    }
    assert_eq!(name(238, '1', 2), format!("{}~2.dcm", "1".repeat(238)), "kept whole while it fits");
}

#[test]
fn wanted_is_what_the_template_names_and_the_sop_uids() {
    let layout = Layout::parse("{PatientID|or:x}/{0009,1001}{PatientID}/{SOPInstanceUID}").unwrap();
    assert_eq!(*layout.wanted(), [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, Tag(0x0009, 0x1001), tags::PATIENT_ID]);
}

#[test]
fn templates_that_could_give_two_instances_one_path_are_refused() {
    for template in [
        "all.dcm",
        "{StudyInstanceUID}/{SeriesInstanceUID}",
        "{SOPInstanceUID|first:10}",
        "{SOPInstanceUID|hash:64}",
        "{SOPInstanceUID}{InstanceNumber}",
        "{SeriesInstanceUID}.{SOPInstanceUID}",
        "{SOPInstanceUID}{SOPInstanceUID}",
    ] {
        assert_eq!(Layout::parse(template), Err(LayoutError::NotUnique), "{template}");
    }
}

#[test]
fn errors_name_the_place_and_the_way_out() {
    let deep = "{SOPInstanceUID}/".repeat(12) + "x";
    let long = "x".repeat(1025);
    let full = "x".repeat(180) + "{SOPInstanceUID}";
    for (template, expected) in [
        ("", "the layout is empty; the default is \"{StudyInstanceUID}/"),
        (&long, "the layout has 1025 bytes; at most 1024"),
        (&deep, "the layout has 13 components; at most 12"),
        ("/{SOPInstanceUID}", "column 1: empty component"),
        ("a//{SOPInstanceUID}", "column 3: empty component"),
        ("{SOPInstanceUID}/", "column 18: empty component"),
        ("a/b~c", "column 4: '~' is not allowed"),
        ("a/\u{e9}", "column 3: '\u{e9}' is not allowed"),
        ("a}", "column 2: '}' is not allowed"),
        ("a/..", "column 3: a component neither"),
        ("a/b.", "column 4: a component neither"),
        ("a/ {SOPInstanceUID}", "column 3: a component neither"),
        ("a/{SOPInstanceUID/b", "column 3: no closing brace"),
        ("{StudyUID}", "column 2: unknown element \"StudyUID\"; use a DICOM keyword"),
        ("{}", "column 2: unknown element \"\""),
        ("{0008,18}", "column 2: unknown element \"0008,18\""),
        ("{0008,+018}", "column 2: unknown element"),
        ("{OverlayLabel}", "column 2: unknown element"),
        ("{PixelData}", "column 2: element (7FE0,0010) is not in front of the pixel data"),
        ("{MediaStorageSOPInstanceUID}", "column 2: element (0002,0003) is not part of a dataset"),
        ("{Rows}", "column 2: element (0028,0010) is not text; use a text element"),
        ("{0008,0000}", "column 2: element (0008,0000) is not text"),
        ("{ReferencedSeriesSequence}", "column 2: element (0008,1115) is not text"),
        ("{StudyDate|upper}", "column 12: unknown function \"upper\"; there are first:N, hash:N and or:TEXT"),
        ("{StudyDate|first:4|}", "column 20: unknown function \"\""),
        ("{StudyDate|first}", "column 12: first takes a number from 1 to 255, not \"\""),
        ("{StudyDate|hash:65}", "column 12: hash takes a number from 1 to 64, not \"65\""),
        ("{StudyDate|hash:0}", "column 12: hash takes"),
        ("{StudyDate|or:a b}", "column 12: or takes 1 to 64 characters"),
        ("{StudyDate|or:}", "column 12: or takes"),
        (&full, "column 1: the component may exceed 255 bytes"),
        ("{PatientID}{PatientName}{StudyDate}{StudyTime}", "column 1: the component may exceed 255 bytes"),
    ] {
        let error = Layout::parse(template).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{template}: {error}");
    }
}

/// Templates that use every part of the grammar.
const TEMPLATES: [&str; 5] = [
    Layout::DEFAULT,
    "{PatientID}/{SOPInstanceUID}",
    "{SOPInstanceUID|hash:2}/x{PatientID|first:3}-{PatientName|or:none} y/COM{SOPInstanceUID}",
    "{PatientID}{PatientName}{0009,1001}/a b/{SOPInstanceUID}/c",
    "{PatientID|hash:8}.{PatientName|first:255|or:...}{0009,1001}/{SOPInstanceUID}-1.dcm",
];

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1024),
        prop::collection::vec(prop::sample::select(b"./\\~%: \0CONcon1".to_vec()), 0..12),
        prop::sample::select(vec![b"..".to_vec(), b"NUL".to_vec(), b"com1.a".to_vec(), b"/".to_vec()]),
    ]
}

proptest! {
    #[test]
    fn no_value_leaves_the_root(
        template in prop::sample::select(TEMPLATES.to_vec()),
        values in prop::array::uniform5(any_value()),
        uid in "[0-9.]{1,255}",
        copy in any::<u32>(),
    ) {
        let tags = [
            tags::PATIENT_ID, tags::PATIENT_NAME, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, Tag(0x0009, 0x1001),
        ];
        let values: Vec<_> = tags.into_iter().zip(values.iter().map(Vec::as_slice)).collect();
        let layout = Layout::parse(template).unwrap();
        let path = layout.path(&meta(&uid), &Head::with(&values), copy);
        let components: Vec<_> = path.components().collect();
        prop_assert_eq!(components.len(), template.split('/').count());
        for component in components {
            let PathComponent::Normal(name) = component else { panic!("{path:?}") };
            let name = name.to_str().unwrap();
            prop_assert!((1..=255).contains(&name.len()), "{} bytes: {name}", name.len());
            prop_assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name}");
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._-%~".contains(&b)), "{name}");
            let stem = name.split('.').next().unwrap().to_ascii_uppercase();
            prop_assert!(!["CON", "PRN", "AUX", "NUL", "COM1", "LPT1"].contains(&stem.as_str()), "{name}");
        }
    }

    #[test]
    fn no_two_instances_share_a_path(
        template in prop::sample::select(TEMPLATES.to_vec()),
        one in "[0-3.]{1,3}|1{236,255}",
        other in "[0-3.]{1,3}|1{236,255}",
        copies in prop::array::uniform2(1u32..30),
    ) {
        let layout = Layout::parse(template).unwrap();
        let [first, second] = copies;
        let same = one == other && first == second;
        let (one, other) = (meta(&one), meta(&other));
        let head = Head::default();
        prop_assert_eq!(layout.path(&one, &head, first) == layout.path(&other, &head, second), same);
    }

    #[test]
    fn values_stay_apart(one in any_value(), other in any_value()) {
        use crate::uid::trim_padding;
        let (one, other) = (trim_padding(&one), trim_padding(&other));
        prop_assume!(one != other && !one.is_empty() && !other.is_empty() && one != b"_" && other != b"_");
        prop_assert_ne!(component(one), component(other));
    }

    #[test]
    fn any_template_is_refused_or_gives_a_relative_path(template in "[{}|:/,. ~a-c0-2]{0,20}(\\{SOPInstanceUID\\})?[/.a-c]{0,4}") {
        if let Ok(layout) = Layout::parse(&template) {
            let path = layout.path(&meta("1.2.3"), &Head::default(), 2);
            prop_assert!(path.components().all(|component| matches!(component, PathComponent::Normal(_))));
        }
    }
}

#[test]
fn what_may_be_a_patients_goes_into_no_log() {
    let layout =
        Layout::parse("in/{PatientID}/{StudyDate|first:4}/{Modality}-{StudyInstanceUID|hash:2}/{SOPInstanceUID}.dcm")
            .unwrap();
    let loggable = |path: &str| layout.loggable(std::path::Path::new(path)).to_str().unwrap().to_owned();
    assert_eq!(loggable("in/Doe/1999/CT-ab/1.2.3.dcm"), "in/…/…/CT-ab/1.2.3.dcm");
    assert_eq!(loggable("in/Doe/1999/CT-ab/Doe.dcm"), "in/…/…/CT-ab/…", "text where a UID belongs");
    assert_eq!(loggable("in/Doe"), "in/…", "the directory alone");
    assert_eq!(loggable("/srv/dicom"), "/srv/dicom");
}

/// Names and values that meet wherever they can: those of literals, in both cases, device names, cut and escaped ones.
const WORDS: [&str; 12] =
    ["ct", "CT", "con", "_", "1.2.3", "1.2.3.dcm", "1.2.3~2", "%63t", "ct-1", "a.dcm", ".tidegate", "x y"];

fn any_layout() -> impl Strategy<Value = String> {
    let literal = prop::sample::select(vec!["ct", "CT", "mr", "con", "_", "1.2.3", "1.2.3.dcm", "x y", "image.dcm"]);
    let field = prop::sample::select(vec![
        "{StudyInstanceUID}",
        "{PatientID}",
        "{PatientID|first:2}",
        "ct-{PatientID}",
        "mr-{PatientID}",
        "{SeriesInstanceUID}.dcm",
        "{PatientID|or:ct}",
    ]);
    let last = prop::sample::select(vec!["{SOPInstanceUID}", "{SOPInstanceUID}.dcm", "{SOPInstanceUID}.img"]);
    let middle = prop_oneof![literal, field];
    (prop::collection::vec(middle, 0..4), last).prop_map(|(front, last)| [front, vec![last]].concat().join("/"))
}

fn hostile_value() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned), "[a-zA-Z0-9.%~/_-]{0,8}", "[ct]{200,300}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Case is folded: two names that differ in it are one file on some filesystems.
    #[test]
    fn layouts_that_are_accepted_together_never_meet(
        templates in prop::collection::vec(any_layout(), 2..4),
        values in prop::collection::vec(prop::array::uniform3(hostile_value()), 4),
        copies in prop::collection::vec(1_u32..4, 4),
    ) {
        let parsed: Vec<Layout> = templates.iter().map(|template| Layout::parse(template).unwrap()).collect();
        let Ok(layouts) = separate(&parsed) else { return Ok(()) };
        let paths = |layout: &Layout| -> Vec<String> {
            let one = |(values, copy): (&[String; 3], &u32)| {
                let tags = [tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::PATIENT_ID];
                let values: Vec<_> = tags.into_iter().zip(values.iter().map(String::as_bytes)).collect();
                layout.path(&meta("1.2.3"), &Head::with(&values), *copy).to_str().unwrap().to_ascii_lowercase()
            };
            values.iter().zip(&copies).map(one).collect()
        };
        for (at, a) in layouts.iter().enumerate() {
            for b in layouts[..at].iter().filter(|b| !a.is_same_place(b)) {
                for (a, b) in paths(a).iter().flat_map(|a| paths(b).into_iter().map(move |b| (a.clone(), b))) {
                    let (a, b) = (Path::new(&a), Path::new(&b));
                    prop_assert!(!a.starts_with(b) && !b.starts_with(a), "{templates:?}: {a:?} and {b:?}");
                }
            }
        }
    }
}

#[test]
fn a_value_does_not_spell_the_directory_of_another_layout() {
    let layouts =
        ["ct/{StudyInstanceUID}/{SOPInstanceUID}.dcm", Layout::DEFAULT].map(|text| Layout::parse(text).unwrap());
    let separated = separate(&layouts).unwrap();
    let path = |values: &[(Tag, &[u8])]| separated[1].path(&meta("1.2.3"), &Head::with(values), 1);
    assert_eq!(
        path(&[(tags::STUDY_INSTANCE_UID, b"ct"), (tags::SERIES_INSTANCE_UID, b"1")]),
        Path::new("%63t/1/1.2.3.dcm")
    );
    assert_eq!(path(&[(tags::STUDY_INSTANCE_UID, b"CT")]), Path::new("%43T/_/1.2.3.dcm"));
    let ordinary: &[(Tag, &[u8])] = &[(tags::STUDY_INSTANCE_UID, b"1.2"), (tags::SERIES_INSTANCE_UID, b"ct")];
    assert_eq!(path(ordinary), Path::new("1.2/ct/1.2.3.dcm"));
}

#[test]
fn layouts_that_could_meet_are_named() {
    for (a, b) in [
        ("{PatientID}/{SOPInstanceUID}.dcm", Layout::DEFAULT),
        ("{StudyInstanceUID}/{SOPInstanceUID}", "{StudyInstanceUID}/{SOPInstanceUID}.dcm"),
        ("ct-{StudyInstanceUID}/{SOPInstanceUID}.dcm", "{PatientID}/{SOPInstanceUID}.dcm"),
        ("CT/{SOPInstanceUID}", "ct/{SOPInstanceUID}"),
        ("con/{SOPInstanceUID}", "{PatientID}/{SOPInstanceUID}"),
    ] {
        let layouts = [a, b].map(|text| Layout::parse(text).unwrap());
        assert_eq!(separate(&layouts), Err(Meeting { first: 0, second: 1 }), "{a} and {b}");
    }
    for (a, b) in [
        ("ct-{PatientID}/{SOPInstanceUID}", "MR-{PatientID}/{SOPInstanceUID}"),
        ("{SOPInstanceUID}.dcm", "{SOPInstanceUID}.img"),
        ("ct/{SOPInstanceUID}", "mr/{SOPInstanceUID}"),
    ] {
        assert!(separate(&[a, b].map(|text| Layout::parse(text).unwrap())).is_ok(), "{a} and {b}");
    }
}
