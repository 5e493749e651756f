//! Senders that deviate from the standard, as real ones do: what they send is stored so that it can be read, counted and logged by kind; what
//! cannot be read is refused.

use std::io::Write;

use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTable, open_file};
use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::http::get;
use crate::node::Node;
use crate::wire::{CT, EXPLICIT, VERIFICATION, Wire, command, dataset, p_data, request, store_message};

const IMPLICIT: &str = "1.2.840.10008.1.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.70";
const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const RLE: &str = "1.2.840.10008.1.2.5";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
/// Below the spool threshold, above it, and above several parts of a spool file.
const SIZES: [usize; 3] = [100, 100_000, 3_000_000];
/// A dataset that arrives in slices, and one that is read directly into the layout of the file.
const FRAGMENTS: [usize; 2] = [16_000, 120_000];

/// Data Set Trailing Padding (PS3.3 §C.12.1.5), in explicit VR.
const PADDING: &[u8] = b"\xFC\xFF\xFC\xFFOB\0\0\x04\0\0\0\0\0\0\0";

/// A request with one context for CT in `transfer_syntax`.
fn in_syntax(transfer_syntax: &str) -> AssociationRQ {
    let context = |id, abstract_syntax: &str, transfer_syntax: &str| PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: vec![transfer_syntax.into()],
    };
    AssociationRQ {
        presentation_contexts: vec![context(1, CT, transfer_syntax), context(3, VERIFICATION, EXPLICIT)],
        ..request()
    }
}

/// A dataset of [`dataset`] in implicit VR.
fn implicit(explicit: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (explicit, Vec::with_capacity(explicit.len()));
    while !rest.is_empty() {
        let is_long = &rest[4..6] == b"OW";
        let (header, length) = match is_long {
            true => (12, u32::from_le_bytes(rest[8..12].try_into().unwrap())),
            false => (8, u32::from(u16::from_le_bytes(rest[6..8].try_into().unwrap()))),
        };
        let (element, after) = rest.split_at(header + length as usize);
        out.extend(&element[..4]);
        out.extend(length.to_le_bytes());
        out.extend(&element[header..]);
        rest = after;
    }
    out
}

/// The only file that is stored: its transfer syntax and its SOP Instance UID, as a reader finds them.
fn only_file(node: &Node) -> (String, String) {
    let files = node.stored();
    assert_eq!(files.len(), 1, "{files:?}");
    let object = open_file(node.storage().join(files.first().unwrap())).unwrap();
    let uid = object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned();
    (object.meta().transfer_syntax().to_owned(), uid)
}

fn deviations(node: &Node, kind: &str) -> bool {
    let name = format!("tidegate_incidents_total{{class=\"deviation\",kind=\"{kind}\"}} 1");
    get(node.admin_address(), "/metrics").body.contains(&name)
}

#[test]
fn a_dataset_in_another_encoding_gets_its_true_label() {
    for size in SIZES {
        let explicit = dataset("1.2.3.5", size);
        let implicit = implicit(&explicit);
        for (announced, bytes, label) in [
            (EXPLICIT, &implicit, IMPLICIT),
            (IMPLICIT, &explicit, EXPLICIT),
            (DEFLATED, &explicit, EXPLICIT),
            (DEFLATED, &implicit, IMPLICIT),
        ] {
            let mut node = Node::start_with_surface(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
            let (mut wire, _) = Wire::associate(node.address(), in_syntax(announced));
            let response = wire.store(1, "1.2.3.5", bytes);
            assert_eq!(response.status, 0, "{announced} {size}: {response:?}");
            wire.release();
            assert_eq!(only_file(&node), (label.to_owned(), "1.2.3.5".to_owned()), "{announced} {size}");
            assert!(deviations(&node, "encoding"));
            node.logged(&["WARN", "sender deviates", "calling=\"WIRE\"", "sop_instance=\"1.2.3.5\"", "encoding"]);
            assert_eq!(node.stop(), Some(0));
        }
    }
}

/// The same dataset with its pixel data in a fragment behind an empty basic offset table (PS3.5 §A.4).
fn encapsulated(native: &[u8]) -> Vec<u8> {
    let at = native.windows(8).position(|bytes| bytes == b"\xE0\x7F\x10\0OW\0\0").unwrap();
    let (elements, pixels) = (&native[..at], &native[at + 12..]);
    let mut out =
        [elements, b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF", b"\xFE\xFF\x00\xE0\0\0\0\0", b"\xFE\xFF\x00\xE0"].concat();
    out.extend((pixels.len() as u32).to_le_bytes());
    out.extend(pixels);
    out.extend(b"\xFE\xFF\xDD\xE0\0\0\0\0");
    out
}

/// Preamble and file meta whose (0002,0010) is `transfer_syntax`.
fn front(transfer_syntax: &str) -> Vec<u8> {
    let padded = transfer_syntax.len().next_multiple_of(2);
    let mut meta = [&[2, 0, 0x10, 0, b'U', b'I', padded as u8, 0][..], transfer_syntax.as_bytes()].concat();
    meta.resize(8 + padded, 0);
    let length = (meta.len() as u32).to_le_bytes();
    [&[0; 128][..], b"DICM", &[2, 0, 0, 0, b'U', b'L', 4, 0], &length, &meta].concat()
}

/// The transfer syntax of the only file. The whole of it is read, unless it is deflated, which the reader cannot do.
fn label(node: &Node) -> String {
    let files = node.stored();
    let bytes = std::fs::read(node.storage().join(files.first().unwrap())).unwrap();
    let meta = FileMetaTable::from_reader(&bytes[128..]).unwrap();
    if meta.transfer_syntax() == DEFLATED { DEFLATED.to_owned() } else { only_file(node).0 }
}

/// What became of each dataset: its status, and the transfer syntax of its file.
fn outcome(announced: &str, sent: &[u8], fragment: usize) -> (u16, Option<String>, Node) {
    let node = Node::start_with_surface(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
    let (mut wire, _) = Wire::associate(node.address(), in_syntax(announced));
    wire.send(&store_message(1, "1.2.3.5", sent, fragment));
    let response = wire.response();
    assert_eq!(wire.echo().status, 0, "the association goes on: {response:?}");
    wire.release();
    let label = (response.status == 0).then(|| label(&node));
    assert_eq!(node.stored().len(), usize::from(label.is_some()));
    (response.status, label, node)
}

#[test]
fn pixel_data_of_another_form_than_the_context_has_get_the_true_label_or_are_refused() {
    for (size, fragment) in SIZES.into_iter().flat_map(|size| FRAGMENTS.map(|fragment| (size, fragment))) {
        let native = dataset("1.2.3.5", size);
        for compressed in [JPEG, JPEG_2000, RLE] {
            let (status, label, node) = outcome(compressed, &native, fragment);
            assert_eq!((status, label.as_deref()), (0, Some(EXPLICIT)), "{compressed} {size} {fragment}");
            assert!(deviations(&node, "pixel_data"));
            node.logged(&["WARN", "sender deviates", "sop_instance=\"1.2.3.5\"", "pixel_data"]);
            let (status, label, node) = outcome(compressed, &encapsulated(&native), fragment);
            assert_eq!((status, label.as_deref()), (0, Some(compressed)), "{compressed} {size} {fragment}");
            assert!(!node.log_text().contains("sender deviates"));
        }
        let padded = [&encapsulated(&native)[..], PADDING].concat();
        for announced in [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED] {
            for dataset in [&encapsulated(&native), &padded] {
                let (status, _, node) = outcome(announced, dataset, fragment);
                assert_eq!(status, 0xC000, "{announced} {size} {fragment}");
                node.logged(&["WARN", "pixel data is encapsulated, its transfer syntax is not"]);
            }
        }
    }
}

/// Beyond 16 MiB and 32 bytes for each of the stream's own, elements are not looked at: the stream must come to its end all the same.
#[test]
fn a_long_deflated_dataset_without_its_end_is_refused_and_a_whole_one_stored() {
    const PIXELS: usize = 20 << 20;
    let mut native = dataset("1.2.3.5", PIXELS);
    let at = native.len() - PIXELS;
    native[at..].fill(0);
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&native).unwrap();
    let whole = encoder.finish().unwrap();
    assert!(whole.len() < 600_000, "{} bytes", whole.len());
    let mut corrupt = whole.clone();
    let at = corrupt.len() - 100;
    corrupt[at..].fill(0xFF);
    for fragment in FRAGMENTS {
        for damaged in [&whole[..whole.len() - 4], &corrupt] {
            let (status, _, node) = outcome(DEFLATED, damaged, fragment);
            assert_eq!(status, 0xC000, "{fragment}");
            node.logged(&["WARN", "dataset is not deflated as its transfer syntax says"]);
        }
        let (status, label, node) = outcome(DEFLATED, &whole, fragment);
        assert_eq!((status, label.as_deref()), (0, Some(DEFLATED)), "{fragment}");
        assert!(std::fs::read(node.storage().join(node.stored().first().unwrap())).unwrap().ends_with(&whole));
    }
}

/// However the dataset is received: in slices, read directly, or spooled.
#[test]
fn a_dataset_whose_elements_break_behind_its_head_is_refused() {
    let open_sequence = &[0x88, 0, 0x00, 0x02, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    let letters = &[0x88, 0, 0x40, 0x01, b'Q', b'Q', 2, 0, 0x80, 0, 0, 0];
    for (size, fragment) in SIZES.into_iter().flat_map(|size| FRAGMENTS.map(|fragment| (size, fragment))) {
        let native = dataset("1.2.3.5", size);
        for broken in [open_sequence, letters] {
            let (status, _, node) = outcome(EXPLICIT, &[&native, &broken[..]].concat(), fragment);
            assert_eq!(status, 0xC000, "{size} {fragment}");
            node.logged(&["WARN", "break at byte"]);
        }
        assert_eq!(outcome(EXPLICIT, &[&native, PADDING].concat(), fragment).0, 0, "{size} {fragment}");
    }
}

#[test]
fn odd_vrs_a_bare_preamble_and_foreign_command_elements_are_counted() {
    let plain = dataset("1.2.3.5", 100);
    let odd_vr = [&plain, &b"\x88\x00\x40\x01??\x02\0\x80\0"[..]].concat();
    let preamble = [&[0; 128], &plain[..]].concat();
    let usual = command(&[
        (0x0002, CT.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &[2, 0]),
        (0x0700, &[0, 0]),
        (0x0800, &[0, 0]),
        (0x1000, b"1.2.3.5\0"),
    ]);
    let foreign = [&usual, &b"\x09\0\x10\0\x04\0\0\0PRIV"[..]].concat();
    let cases = [("vr", &usual, &odd_vr), ("file_meta", &usual, &preamble), ("command_elements", &foreign, &plain)];
    for (kind, command, dataset) in cases {
        let node = Node::start_with_surface(&[]);
        let (mut wire, _) = Wire::associate(node.address(), in_syntax(EXPLICIT));
        wire.send(&[p_data(1, 3, command), p_data(1, 2, dataset)].concat());
        assert_eq!(wire.response().status, 0, "{kind}");
        wire.release();
        assert!(deviations(&node, kind), "{kind}");
        node.logged(&["WARN", "sender deviates", kind]);
    }
}

#[test]
fn a_whole_part_10_file_keeps_the_transfer_syntax_that_it_names_if_that_is_true() {
    for (size, fragment) in SIZES.into_iter().flat_map(|size| FRAGMENTS.map(|fragment| (size, fragment))) {
        let explicit = dataset("1.2.3.5", size);
        let (implicit, compressed) = (implicit(&explicit), encapsulated(&explicit));
        for (announced, named, bytes, label) in [
            (EXPLICIT, RLE, &compressed, Some(RLE)),
            (IMPLICIT, JPEG_2000, &compressed, Some(JPEG_2000)),
            (JPEG, JPEG_2000, &compressed, Some(JPEG_2000)),
            (JPEG, IMPLICIT, &implicit, Some(IMPLICIT)),
            (JPEG, EXPLICIT, &explicit, Some(EXPLICIT)),
            // What the file meta says is not so.
            (EXPLICIT, RLE, &explicit, Some(EXPLICIT)),
            (JPEG, EXPLICIT, &compressed, Some(JPEG)),
            (EXPLICIT, IMPLICIT, &compressed, None),
            (JPEG, RLE, &implicit, None),
        ] {
            let (status, stored, node) = outcome(announced, &[&front(named), &bytes[..]].concat(), fragment);
            let expected = if label.is_some() { 0 } else { 0xC000 };
            assert_eq!((status, stored.as_deref()), (expected, label), "{named} as {announced} {size} {fragment}");
            assert_eq!(
                deviations(&node, "encoding") || deviations(&node, "pixel_data"),
                label.is_some_and(|label| label != announced)
            );
        }
    }
}

#[test]
fn file_meta_without_end_is_called_what_it_is() {
    let private = [&[2, 0, 2, 1, b'O', b'B', 0, 0][..], &40_000_u32.to_le_bytes(), &[0; 40_000]].concat();
    let (status, _, node) = outcome(EXPLICIT, &[&private[..], &private, &dataset("1.2.3.5", 100)].concat(), 16_000);
    assert_eq!(status, 0xC000);
    node.logged(&["WARN", "file meta in front of the dataset exceeds 64 KiB"]);
}

#[test]
fn a_deflated_dataset_is_inflated_to_its_end() {
    use std::io::Write as _;
    // Numbers as text become matches, so that damage shows.
    let pixels: String = (0..200_000).map(|number| format!("{number:07} ")).collect();
    let mut whole = dataset("1.2.3.5", 0);
    whole.truncate(whole.len() - 4);
    whole.extend((pixels.len() as u32).to_le_bytes());
    whole.extend(pixels.bytes());
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&whole).unwrap();
    let deflated = encoder.finish().unwrap();
    for fragment in FRAGMENTS {
        let (status, label, _) = outcome(DEFLATED, &deflated, fragment);
        assert_eq!((status, label.as_deref()), (0, Some(DEFLATED)));
        let (status, ..) = outcome(DEFLATED, &deflated[..deflated.len() - 100], fragment);
        assert_eq!(status, 0xC000, "cut short");
        let mut damaged = deflated.clone();
        let tail = damaged.len() - 2000..;
        damaged[tail].fill(0); // the code of a frequent byte: the stream does not end
        assert_eq!(outcome(DEFLATED, &damaged, fragment).0, 0xC000, "damaged");
    }
}

#[test]
fn a_dataset_with_a_second_identity_is_refused() {
    let uid = |text: &[u8]| [&[8, 0, 0x18, 0, b'U', b'I', text.len() as u8, 0][..], text].concat();
    let whole = dataset("1.2.3.5", 100);
    let at = whole.windows(4).position(|tag| tag == [8, 0, 0x18, 0]).unwrap();
    for (second, status) in [("1.2.3.5\0", 0), ("1.2.3.6\0", 0xA900)] {
        for second_at in [at, at + 8 + 8] {
            let sent = [&whole[..second_at], &uid(second.as_bytes()), &whole[second_at..]].concat();
            assert_eq!(outcome(EXPLICIT, &sent, 16_000).0, status, "{second}");
        }
    }
}

#[test]
fn what_no_reader_can_read_is_refused() {
    let explicit = dataset("1.2.3.5", 1000);
    let zlib = [&[0x78, 0x9C][..], &explicit].concat();
    for (announced, bytes) in [(JPEG, implicit(&explicit)), (DEFLATED, zlib), (EXPLICIT, vec![0xFF; 1000])] {
        let node = Node::start(&[]);
        let (mut wire, _) = Wire::associate(node.address(), in_syntax(announced));
        assert_eq!(wire.store(1, "1.2.3.5", &bytes).status, 0xC000, "{announced}");
        assert_eq!(wire.echo().status, 0, "the association goes on");
        assert!(node.stored().is_empty());
    }
}

#[test]
fn what_is_no_part_of_a_dataset_is_left_out_of_the_file() {
    let explicit = dataset("1.2.3.5", 100_000);
    let mut meta = vec![2, 0, 0x10, 0, b'U', b'I', 20, 0];
    meta.extend(b"1.2.840.10008.1.2.2\0");
    let length = [&[2, 0, 0, 0, b'U', b'L', 4, 0][..], &(meta.len() as u32).to_le_bytes()].concat();
    let part_10 = [&[0; 128][..], b"DICM", &length, &meta, &explicit].concat();
    for bytes in [part_10, [&meta[..], &explicit].concat()] {
        let node = Node::start_with_surface(&[]);
        let (mut wire, _) = Wire::associate(node.address(), in_syntax(EXPLICIT));
        assert_eq!(wire.store(1, "1.2.3.5", &bytes).status, 0);
        wire.release();
        assert_eq!(only_file(&node), (EXPLICIT.to_owned(), "1.2.3.5".to_owned()));
        assert!(deviations(&node, "file_meta"));
    }
}

#[test]
fn a_uid_of_text_and_the_class_of_another_context_are_kept_unless_strict() {
    let mr = command(&[
        (0x0002, MR.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &[2, 0]),
        (0x0700, &[0, 0]),
        (0x0800, &[0, 0]),
        (0x1000, b"1.2.3.6\0"),
    ]);
    let mut of_mr = dataset("1.2.3.6", 100);
    of_mr[8 + CT.len() - 1] = MR.as_bytes()[MR.len() - 1]; // the first element is the SOP class, and the two differ in the last character
    for strict in [false, true] {
        let node =
            Node::start_with_surface(&[("TIDEGATE__ASSOCIATIONS__STRICT", if strict { "true" } else { "false" })]);
        let (mut wire, _) = Wire::associate(node.address(), in_syntax(EXPLICIT));
        wire.send(&store_message(1, "IMG_1-a b", &dataset("IMG_1-a b", 100), 16_000));
        assert_eq!(wire.response().status, if strict { 0x0117 } else { 0 });
        wire.send(&[p_data(1, 3, &mr), p_data(1, 2, &of_mr)].concat());
        assert_eq!(wire.response().status, if strict { 0x0122 } else { 0 });
        wire.release();
        assert_eq!(node.stored().len(), if strict { 0 } else { 2 });
        for kind in ["sop_instance_uid", "class_of_another_context"] {
            assert_eq!(deviations(&node, kind), !strict, "{kind}");
        }
        assert!(!node.log_text().contains("IMG_1"), "it might be the name of a patient");
    }
}

#[test]
fn unknown_items_and_text_behind_a_nul_do_not_keep_a_peer_out() {
    let node = Node::start_with_surface(&[]);
    let mut bytes = crate::wire::encoded(request());
    bytes[26..42].copy_from_slice(b"CT1\0leftover   \0"); // the calling AE title, PS3.8 table 9-11
    bytes.extend([0x99, 0, 0, 4, 1, 2, 3, 4]); // an item that PS3.8 does not know
    let length = (bytes.len() - 6) as u32;
    bytes[2..6].copy_from_slice(&length.to_be_bytes());
    let mut wire = Wire::connect(node.address());
    wire.send(&bytes);
    assert!(matches!(wire.pdu(), Some(dicom_ul::pdu::Pdu::AssociationAC(_))));
    assert_eq!(wire.store(1, "1.2.3.5", &dataset("1.2.3.5", 100)).status, 0);
    wire.release();
    node.logged(&["association accepted", "calling=\"CT1\" "]);
    node.logged(&["WARN", "text behind a NUL", "calling=\"CT1\""]);
    assert!(deviations(&node, "ae_title"));
}
