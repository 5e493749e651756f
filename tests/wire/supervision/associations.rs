//! Associations that panic, hold too much, or whose thread hangs or died: their peers get A-ABORT, the others go on.

use super::*;

#[test]
fn an_association_that_panics_says_goodbye_and_the_others_notice_nothing() {
    let mut node = start(&[]);
    let mut other = associate(&node);
    let mut wire = associate(&node);
    let message = store_message(1, "1.2.3.58", &dataset("1.2.3.58", 300_000), 16_000);
    wire.send(&message[..200_000]);
    // Its last eight messages are fragments by then.
    node.wait_until_received(150_000);
    node.arm(&["association panic"]);
    wire.send(&message[200_000..250_000]);
    assert!(is_abort(wire.pdu()));
    assert_eq!(wire.pdu(), None);
    let record = node.logged(&["child ended", "association", "panicked: fault port"]);
    assert!(record.contains("restart_policy=\"temporary\"") && record.contains("receiving="), "{record}");
    assert!(record.contains("last_messages=\"fragment"), "{record}");
    assert_eq!(other.store(1, "1.2.3.59", &dataset("1.2.3.59", 5000)).status, 0);
    other.release();
    assert_stored_whole(&node, "1.2.3.59", &dataset("1.2.3.59", 5000));
    assert_eq!(held_bytes(&node), 0);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_association_that_holds_more_than_it_can_have_use_for_is_ended() {
    let mut node = start(&[("TIDEGATE__MEMORY__BUDGET", "256 MiB"), ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB")]);
    let mut other = associate(&node);
    let mut wire = associate(&node);
    node.arm(&["association hold 100000000"]);
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.60")));
    assert!(is_abort(wire.pdu()));
    assert_eq!(wire.pdu(), None);
    let record = node.logged(&["child ended", "association", "held", "allowed"]);
    assert!(record.contains("receiving=100"), "{record}");
    assert_eq!(other.store(1, "1.2.3.61", &dataset("1.2.3.61", 5000)).status, 0);
    other.release();
    assert_eq!(held_bytes(&node), 0);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn associations_of_a_thread_that_hangs_or_died_are_aborted_and_those_of_the_others_go_on() {
    for (fault, cause) in [("associations hang", "hung"), ("associations die", "its thread died")] {
        let mut node = start(&[("TIDEGATE__ASSOCIATIONS__ARBITERS", "2")]);
        // From the first instance on, the list of origins stays open. One on each thread, so that the next is on the first again.
        assert_eq!([store(&node, "1.2.3.60"), store(&node, "1.2.3.61")], [0, 0]);
        let before = at_rest(&node);
        let mut wires: Vec<_> = (0..2).map(|_| associate(&node)).collect();
        node.arm(&[fault]);
        let record = node.logged(&["child ended", "associations-", cause]);
        let thread: usize = record.split("associations-").nth(1).unwrap()[..1].parse().unwrap();
        let mut survivor = wires.remove(1 - thread);
        let mut cut_off = wires.remove(0);
        assert!(is_abort(cut_off.pdu()), "{fault}");
        assert_eq!(cut_off.pdu(), None);
        assert_eq!(survivor.store(1, "1.2.3.62", &dataset("1.2.3.62", 5000)).status, 0);
        survivor.release();
        for _ in 0..4 {
            assert_eq!(store(&node, "1.2.3.62"), 0, "on every thread");
        }
        node.wake();
        node.wait_for_no_more_than(before);
        assert_eq!(held_bytes(&node), 0);
        assert_eq!(node.stop(), Some(0));
    }
}

/// Over TLS only the association itself can say A-ABORT: nobody else has its keys.
#[test]
fn over_tls_an_association_that_panics_says_goodbye_and_one_whose_thread_hangs_is_closed() {
    let authority = Authority::new();
    authority.sign("node", "localhost", 1);
    let [certificate, key] = ["node.pem", "node.key"].map(|file| authority.path(file).to_str().unwrap().to_owned());
    // Of a thread that died the association and the supervisor take leave at one time: the connection may be closed first.
    let faults = [("association panic", Some(true)), ("associations hang", Some(false)), ("associations die", None)];
    for (fault, says_goodbye) in faults {
        let mut node = start(&[
            ("TIDEGATE__TLS__LISTEN", "127.0.0.1:0"),
            ("TIDEGATE__TLS__CERTIFICATE", &certificate),
            ("TIDEGATE__TLS__KEY", &key),
            ("TIDEGATE__ASSOCIATIONS__ARBITERS", "1"),
            ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ]);
        let mut wire = Wire(Authority::connect(&authority.client(None, &TLS13), node.tls_address()));
        assert!(matches!(wire.ask(request()), Some(Pdu::AssociationAC(_))));
        node.arm(&[fault]);
        if fault.starts_with("association ") {
            wire.send(&p_data(1, 3, &store_command(1, "1.2.3.64")));
        }
        let heard = wire.pdu();
        let is_closed = heard.is_none();
        assert_eq!(says_goodbye.unwrap_or(!is_closed), !is_closed, "{fault}");
        assert!(is_closed || is_abort(heard) && wire.pdu().is_none(), "{fault}");
        // An association that hangs is counted when it has ended.
        node.wake();
        let aborted = "tidegate_associations_aborted_total 1";
        let is_counted = || crate::http::get(node.admin_address(), "/metrics").body.contains(aborted);
        assert!(eventually(is_counted), "{fault}");
        assert_eq!(store(&node, "1.2.3.65"), 0, "{fault}: the node goes on");
        assert_eq!(held_bytes(&node), 0);
        node.wait_for_hung_threads();
        assert_eq!(node.stop(), Some(0));
    }
}
