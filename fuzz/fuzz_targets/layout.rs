//! Any text as a template, any bytes as the values of an instance: a path below the root, or a refusal.
#![no_main]

use std::path::Component;

use libfuzzer_sys::fuzz_target;
use tidegate_storage::head::{Head, HeadLimits, HeadScan};
use tidegate_storage::layout::Layout;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;

/// A head in which every element the layout wants has this value.
fn head(layout: &Layout, value: &[u8]) -> Head {
    let mut scan = HeadScan::new("1.2.840.10008.1.2", layout.wanted(), HeadLimits::default());
    for tag in layout.wanted().iter() {
        let _ = scan.feed(&tag.group().to_le_bytes());
        let _ = scan.feed(&tag.element().to_le_bytes());
        let _ = scan.feed(&(value.len() as u32).to_le_bytes());
        let _ = scan.feed(value);
    }
    scan.finish().unwrap_or_default()
}

fuzz_target!(|data: &[u8]| {
    let (template, value) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(template) = std::str::from_utf8(template) else { return };
    let Ok(layout) = Layout::parse(template) else { return };
    let digits: Vec<u8> = value.iter().map(|byte| b"0123456789."[usize::from(*byte) % 11]).take(255).collect();
    let Ok(uid) = Uid::parse(&digits) else { return };
    let meta = FileMeta {
        sop_class_uid: uid.clone(),
        sop_instance_uid: uid,
        transfer_syntax_uid: String::from_utf8_lossy(value).into_owned(),
        source_ae_title: String::from_utf8_lossy(value).into_owned(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    };
    assert!(meta.encode().len() <= FileMeta::MAX_ENCODED_BYTES);
    let head = head(&layout, value);
    for copy in [1, 2, u32::MAX] {
        let path = layout.path(&meta, &head, copy);
        assert!(path.as_os_str().len() < 3200, "{path:?}");
        for component in path.components() {
            let Component::Normal(name) = component else { panic!("{path:?}") };
            let name = name.to_str().unwrap();
            assert!((1..=255).contains(&name.len()) && !name.starts_with('.'), "{path:?}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-%~ ".contains(&b)), "{path:?}");
        }
    }
});
