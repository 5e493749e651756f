//! Hints that lengthen or shorten the wait for the end of a study: what datasets tell, and what the source answers to C-FIND.

use serde_json::{Value, json};

use super::*;
use crate::access::Configured;
use crate::delivery::finder::{Finder, Held, Manner};
use crate::wire::dataset_with;

const COMPLETE: &str = "events = [\"study.complete\"]";

/// Instances of the series `1` of a study, as a source has them.
fn held(study: &str, numbers: impl IntoIterator<Item = u32>) -> Held {
    let series = format!("{study}.1");
    let uids = numbers.into_iter().map(|number| format!("{series}.{number}")).collect();
    [(study.to_owned(), [(series, uids)].into())].into()
}

/// Stores instances whose datasets have these elements of group 0020, one of which may be the number.
fn tell(wire: &mut Wire, study: &str, numbers: &[u32], told: &[(u16, &str)]) {
    for number in numbers {
        let (uid, text) = (format!("{study}.1.{number}"), number.to_string());
        let elements = [&[(0x0013, &*text)][..], told].concat();
        let dataset = dataset_with(&uid, (study, &format!("{study}.1")), &elements, 100);
        assert_eq!(wire.store(1, &uid, &dataset).status, 0, "{uid}");
    }
}

/// What the announcement of the study says of its end, and how long after that moment it came.
fn ended(receiver: &Receiver, study: &str, since: Instant) -> (Value, Duration) {
    let of = |requests: Vec<Value>| requests.into_iter().find(|request| request["event"]["subject"] == study);
    assert!(eventually(|| of(receiver.requests()).is_some()), "{:?}", receiver.requests());
    let took = since.elapsed();
    let data = of(receiver.requests()).unwrap()["event"]["data"].clone();
    (json!([data["basis"], data["expected"], data["instances"], data["missing"]]), took)
}

#[test]
fn numbers_in_datasets_shorten_and_lengthen_the_wait() {
    let receiver = Receiver::started();
    let quiet = "[completeness]\nstudy_quiet = \"6s\"\nseries_quiet = \"1s\"\nwait_for_missing = \"4s\"\n";
    let mut node = start(None, &format!("{quiet}{}", receiver.table(COMPLETE)));
    let (mut wire, _) = Wire::associate(node.address(), request());
    tell(&mut wire, "1.2.1", &[1, 2, 3], &[(0x1208, "3")]);
    tell(&mut wire, "1.2.2", &[1, 2, 4], &[]);
    tell(&mut wire, "1.2.3", &[1, 2], &[(0x1209, "5")]);
    tell(&mut wire, "1.2.4", &[1, 2], &[(0x1002, "3")]);
    tell(&mut wire, "1.2.5", &[1, 2], &[]);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(receiver.requests().len(), 0, "somebody sends of it");
    wire.release();
    let (told, took) = ended(&receiver, "1.2.1", began);
    assert_eq!(told, json!(["told", 3, 3, 0]));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (told, took) = ended(&receiver, "1.2.5", began);
    assert_eq!(told, json!(["quiet", null, 2, 0]));
    assert!((Duration::from_millis(5_900)..Duration::from_secs(9)).contains(&took), "{took:?}");
    for (study, expected) in [
        ("1.2.2", json!(["quiet", null, 3, 1])),
        ("1.2.3", json!(["quiet", null, 2, 3])),
        ("1.2.4", json!(["quiet", null, 2, 1])),
    ] {
        let (told, took) = ended(&receiver, study, began);
        assert_eq!(told, expected);
        assert!(took > Duration::from_millis(9_900), "{took:?}");
        let completion = &node.told(&["study", study]).1["completion"];
        assert_eq!(
            [&completion["basis"], &completion["expected"], &completion["missing"]],
            [&told[0], &told[1], &told[3]]
        );
    }
    assert_eq!(node.told(&["study", "1.2.1"]).1["completion"], json!({"basis": "told", "expected": 3, "missing": 0}));
    assert_eq!(node.stop(), Some(0));
}

const ASKS: &str =
    "[completeness]\nstudy_quiet = \"2s\"\nseries_quiet = \"1s\"\nwait_for_missing = \"20s\"\nask_source = true\n";

/// Questions to the source `WIRE` by the metrics: asked, answered, failed.
fn figures(node: &Node) -> [u64; 3] {
    let page = crate::http::get(node.admin_address(), "/metrics").body;
    ["asked", "answered", "failed"].map(|what| {
        let name = format!("tidegate_source_{what}_total{{source=\"WIRE\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&*name)).unwrap_or("0");
        value.parse().unwrap()
    })
}

#[test]
fn a_source_is_asked_until_it_has_no_more() {
    for manner in [Manner::Honest, Manner::Terse] {
        let (receiver, source) = (Receiver::started(), Finder::new(held("1.2.3", 0..4), manner));
        let mut node = stream::start(None, &format!("{ASKS}{}{}", source.peer("WIRE"), receiver.table(COMPLETE)));
        store(&node, "1.2.3", 0..3);
        assert!(eventually(|| source.asked() >= 2), "it has more, so it is asked again");
        assert_eq!(receiver.requests().len(), 0);
        store(&node, "1.2.3", 3..4);
        let (told, _) = ended(&receiver, "1.2.3", Instant::now());
        assert_eq!(told, json!(["asked", 4, 4, 0]));
        let asked = source.asked() as u64;
        assert_eq!(figures(&node), [asked, asked, 0]);
        assert!(source.titles().iter().all(|titles| *titles == ("TIDEGATE".to_owned(), "WIRE".to_owned())));
        assert_eq!(node.stop(), Some(0));
    }
}

#[test]
fn a_source_that_does_not_answer_delays_its_studies_once_and_no_others() {
    for manner in [Manner::Refuses, Manner::Fails(0xA700), Manner::Dies] {
        let (receiver, source) = (Receiver::started(), Finder::new(held("1.2.3", 0..4), manner));
        let mut node = stream::start(None, &format!("{ASKS}{}{}", source.peer("WIRE"), receiver.table(COMPLETE)));
        store(&node, "1.2.3", 0..3);
        let (told, took) = ended(&receiver, "1.2.3", Instant::now());
        assert_eq!(told, json!(["quiet", null, 3, 0]), "{manner:?}");
        assert!(took < Duration::from_secs(10), "{manner:?}: {took:?}");
        node.logged(&["source does not answer how many instances it has", "WIRE"]);
        let asked = source.asked();
        store(&node, "1.2.4", 0..3);
        ended(&receiver, "1.2.4", Instant::now());
        assert_eq!(source.asked(), asked, "{manner:?}: not for a minute");
        assert_eq!(figures(&node), [1, 0, 1], "{manner:?}");
        assert_eq!(node.stop(), Some(0));
    }
}

/// Killed between the question and the answer.
#[test]
fn a_question_survives_a_kill() {
    let receiver = Receiver::started();
    let silent = Finder::new(held("1.2.3", 0..3), Manner::Hangs);
    let table = receiver.table(COMPLETE);
    let node = start(None, &format!("{ASKS}{}{table}", silent.peer("WIRE")));
    store(&node, "1.2.3", 0..3);
    assert!(eventually(|| silent.asked() == 1));
    assert_eq!(receiver.requests().len(), 0);
    let (root, _kept) = kill(node);
    let source = Finder::new(held("1.2.3", 0..3), Manner::Honest);
    let mut node = start(Some(&root), &format!("{ASKS}{}{table}", source.peer("WIRE")));
    let (told, _) = ended(&receiver, "1.2.3", Instant::now());
    assert_eq!((told, source.asked()), (json!(["asked", 3, 3, 0]), 1));
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(node.stop(), Some(0));
}

/// Each reload would begin the time for the answer anew, and the answer under way would mean nothing.
#[test]
fn a_question_survives_reloads() {
    let receiver = Receiver::started();
    let source = Finder::new(held("1.2.3", 0..3), Manner::Slow(4));
    let text = |wait: &str| {
        let asking = ASKS.replace("20s", wait);
        format!("{asking}{}{}", source.peer("WIRE"), receiver.table(COMPLETE))
    };
    let configured = Configured::start(&text("20s"));
    store(&configured.node, "1.2.3", 0..3);
    assert!(eventually(|| source.asked() == 1));
    for wait in ["21s", "22s"] {
        configured.reload(&text(wait));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(receiver.requests().len(), 0);
    assert_eq!(ended(&receiver, "1.2.3", Instant::now()).0, json!(["asked", 3, 3, 0]));
    assert_eq!(source.asked(), 1);
}

#[test]
fn a_reload_begins_and_ends_asking() {
    let receiver = Receiver::started();
    let source = Finder::new(held("1.2.3", 0..3).into_iter().chain(held("1.2.4", 0..3)).collect(), Manner::Honest);
    let text = |asks: bool| {
        let asking = ASKS.replace("true", &asks.to_string());
        format!("{asking}{}{}", source.peer("WIRE"), receiver.table(COMPLETE))
    };
    let configured = Configured::start(&text(false));
    configured.reload(&text(true));
    store(&configured.node, "1.2.3", 0..3);
    assert_eq!(ended(&receiver, "1.2.3", Instant::now()).0, json!(["asked", 3, 3, 0]));
    configured.reload(&text(false));
    store(&configured.node, "1.2.4", 0..3);
    assert_eq!(ended(&receiver, "1.2.4", Instant::now()).0, json!(["quiet", null, 3, 0]));
    assert_eq!(source.asked(), 1);
}

/// A node that has been up for a moment has opened no catalogue yet; one with other times has made other due times.
#[test]
fn quiet_times_hold_for_what_comes_first_and_shorter_ones_at_once() {
    let receiver = Receiver::started();
    let text = |study_quiet: &str| {
        format!("[completeness]\nstudy_quiet = \"{study_quiet}\"\nseries_quiet = \"1s\"\n{}", receiver.table(COMPLETE))
    };
    for round in 0..3 {
        let (mut node, study) = (start(None, &text("2s")), format!("1.2.{round}"));
        store(&node, &study, 0..3);
        let (_, took) = ended(&receiver, &study, Instant::now());
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(node.stop(), Some(0));
    }
    let configured = Configured::start(&text("5m"));
    store(&configured.node, "1.2.9", 0..3);
    std::thread::sleep(Duration::from_secs(3));
    configured.reload(&text("2s"));
    let (_, took) = ended(&receiver, "1.2.9", Instant::now());
    assert!(took < Duration::from_secs(10), "{took:?}");
}
