//! Destinations with `commit = true`: an instance is delivered when they have committed it.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use dicom_ul::pdu::{Pdu, RequestorRoles, UserVariableItem};
use parking_lot::Mutex;

use super::reports::{REPORTS, event_report, event_report_of, reporting};
use super::scp::Commit;
use super::*;
use crate::commitment::modality::PUSH_MODEL;

const COMMIT: &str = "commit = true\nattempts = 2";

/// The address of a node that starts later.
type Later = Arc<Mutex<Option<SocketAddr>>>;

impl Gateway {
    fn wait_for_sent(&self, sent: i64) {
        let is_so = eventually(|| {
            self.row().is_some_and(|row| (row.sums.sent, row.sums.waiting, row.sums.retrying) == (sent, 0, 0))
        });
        assert!(is_so, "not {sent} sent: {:?}", self.row());
    }
}

fn committing(commit: impl Fn(usize, &[String]) -> Commit + Send + Sync + 'static) -> Behaviour {
    Behaviour { commit: Box::new(commit), ..Behaviour::default() }
}

fn all(count: u32) -> Vec<String> {
    let mut uids: Vec<_> = (0..count).map(uid).collect();
    uids.sort();
    uids
}

#[test]
fn what_is_committed_on_the_same_association_is_delivered() {
    let scp = Scp::new(Behaviour::default());
    let mut gateway = Gateway::start(&scp.destination("archive", COMMIT));
    store(&gateway.node, 0..5);
    gateway.wait_for(5, 0);
    let asked = scp.asked();
    let mut references: Vec<_> = asked.iter().flat_map(|(_, references)| references.clone()).collect();
    references.sort();
    assert_eq!(references, all(5), "each once");
    assert!(eventually(|| scp.reported().len() == asked.len()));
    assert!(scp.reported().iter().all(|status| *status == 0));
    assert!(scp.counts().values().all(|count| *count == 1));
    assert_eq!(gateway.node.stop(), Some(0));
    assert_eq!(scp.aborted(), 0);
}

/// A request costs both sides durable notes, so that a stream of instances is asked for every two seconds, not one by one.
#[test]
fn what_is_sent_meanwhile_is_asked_for_together() {
    let scp = Scp::new(Behaviour::default());
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    let began = Instant::now();
    for instance in 0..30 {
        store(&gateway.node, instance..instance + 1);
        std::thread::sleep(Duration::from_millis(100));
    }
    gateway.wait_for(30, 0);
    let most = began.elapsed().as_secs() / 2 + 1;
    assert!(scp.asked().len() as u64 <= most, "{} requests in {:?}", scp.asked().len(), began.elapsed());
}

/// A destination does not wait for the answer to one report before it sends the next (PS3.7 §D.3.3.3 lets it).
#[test]
fn reports_of_several_requests_are_taken_at_once() {
    let scp = Scp::new(committing(|before, _| if before < 2 { Commit::Silence } else { Commit::All }));
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    for request in 0..3 {
        store(&gateway.node, request * 2..request * 2 + 2);
        assert!(eventually(|| scp.asked().len() > request as usize));
    }
    gateway.wait_for(6, 0);
    // Two instances may be of two requests: from the third request on, each is answered with the reports of all so far.
    let asked = scp.asked().len();
    assert!(
        asked >= 3 && eventually(|| scp.reported().len() == (3..=asked).sum::<usize>()),
        "{asked}: {:?}",
        scp.reported()
    );
    assert!(scp.reported().iter().all(|status| *status == 0), "{:?}", scp.reported());
}

#[test]
fn what_is_committed_on_an_association_of_the_destination_is_delivered() {
    let node = Later::default();
    let of_scp = node.clone();
    let there = move |_, _: &[String]| {
        let address = of_scp.lock().unwrap();
        Commit::There(address)
    };
    let scp = Scp::new(committing(there));
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    *node.lock() = Some(gateway.node.address());
    store(&gateway.node, 0..5);
    gateway.wait_for(5, 0);
    assert!(eventually(|| scp.reported().len() == scp.asked().len()));
    assert!(scp.reported().iter().all(|status| *status == 0), "{:?}", scp.reported());
}

#[test]
fn a_destination_without_storage_commitment_is_told_and_what_it_was_sent_stays_owed() {
    let accept = |context: &dicom_ul::pdu::PresentationContextProposed| {
        (context.abstract_syntax != PUSH_MODEL).then(|| context.transfer_syntaxes[0].clone())
    };
    let scp = Scp::new(Behaviour { accept: Box::new(accept), ..Behaviour::default() });
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    store(&gateway.node, 0..5);
    gateway.node.logged(&["destination does not commit", "does not offer storage commitment"]);
    gateway.wait_for_sent(5);
    assert_eq!(gateway.row().unwrap().sums.delivered, 0);
    assert_eq!(scp.received().len(), 5);
    assert!(!gateway.node.log_text().contains("destination is down"));
    // Asked for no more, it is delivered.
    gateway.reload(&scp.destination("archive", ""));
    gateway.wait_for(5, 0);
    assert_eq!(scp.received().len(), 5, "nothing is sent again");
}

/// A report counts by its transaction only, and only from the AE title of the destination.
#[test]
fn reports_of_others_are_refused() {
    let scp = Scp::new(committing(|_, _| Commit::Silence));
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    store(&gateway.node, 0..3);
    assert!(eventually(|| scp.asked().iter().map(|(_, references)| references.len()).sum::<usize>() == 3));
    gateway.wait_for_sent(3);
    let roles = RequestorRoles { scu: false, scp: true };
    let role_of = |calling: &str| {
        let (wire, answer) = Wire::associate(gateway.node.address(), reporting(calling, roles));
        let role = answer.user_variables.iter().find_map(|item| match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(_, roles) => Some(roles.scp),
            _ => None,
        });
        (wire, role)
    };
    let (wire, role) = role_of("STRANGER");
    assert_eq!(role, Some(false));
    wire.release();
    let (mut wire, role) = role_of("ARCHIVE");
    assert_eq!(role, Some(true));
    let report = |wire: &mut Wire, transaction: &str, uids: &[String]| {
        let references: Vec<_> = uids.iter().map(|uid| (uid.clone(), None)).collect();
        wire.send(&event_report(REPORTS, transaction, &references));
        wire.response().status
    };
    assert_eq!(report(&mut wire, "1.2.3.99", &all(3)), 0x0115);
    gateway.node.logged(&["report of commitment refused", "the transaction is none of this node"]);
    let (transaction, uids) = scp.asked()[0].clone();
    // It may come later, and twice; and instances that it does not name stay owed.
    assert_eq!(report(&mut wire, &transaction, &uids[..1]), 0);
    assert_eq!(report(&mut wire, &transaction, &uids[..1]), 0);
    assert_eq!(report(&mut wire, &transaction, &["1.2.3.4.77".to_owned()]), 0);
    let sums = gateway.row().unwrap().sums;
    assert_eq!((sums.delivered, sums.sent), (1, 2));
    for (transaction, uids) in scp.asked() {
        assert_eq!(report(&mut wire, &transaction, &uids), 0);
    }
    gateway.wait_for(3, 0);
    let (mut stranger, _) = role_of("STRANGER");
    stranger.send(&event_report(REPORTS, &transaction, &[(uids[0].clone(), None)]));
    let answer = stranger.pdu();
    let is_refused = match &answer {
        Some(Pdu::PData { data }) => data[0].data.windows(10).any(|at| at == b"\0\0\x00\x09\x02\0\0\0\x11\x02"),
        _ => true,
    };
    assert!(is_refused, "{answer:?}");
}

/// Whatever has become of the request since: it was asked again, and the child of the destination is another one.
#[test]
fn the_report_of_a_former_request_counts_after_a_retry_and_a_reload() {
    let scp = Scp::new(committing(|_, _| Commit::Silence));
    let table = scp.destination("archive", COMMIT);
    let gateway = Gateway::start(&table);
    store(&gateway.node, 0..3);
    gateway.wait_for_sent(3);
    assert!(eventually(|| scp.asked().iter().map(|(_, uids)| uids.len()).sum::<usize>() == 3));
    let first = scp.asked();
    // A retry that comes before the request is noted changes nothing: it was asked for just now.
    let is_asked_again = || {
        let retried = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["outbox", "retry", "--destination", "archive", "--all", "--storage"])
            .arg(gateway.node.storage())
            .status();
        assert!(retried.unwrap().success());
        std::thread::sleep(Duration::from_secs(1));
        scp.asked().len() > first.len()
    };
    assert!(eventually(is_asked_again));
    gateway.configure("[delivery]\nto = []\n");
    gateway.reload(&table);
    let (mut wire, _) =
        Wire::associate(gateway.node.address(), reporting("ARCHIVE", RequestorRoles { scu: false, scp: true }));
    for (transaction, uids) in &first {
        let references: Vec<_> = uids.iter().map(|uid| (uid.clone(), None)).collect();
        wire.send(&event_report(REPORTS, transaction, &references));
        assert_eq!(
            wire.response().status,
            0,
            "and not unknown: the first child has ended, and the second reads its queue"
        );
    }
    gateway.wait_for(3, 0);
    assert!(scp.counts().values().all(|count| *count == 1));
}

/// What a report says of an instance of another SOP class is not about what was asked for.
#[test]
fn a_report_of_another_sop_class_commits_nothing() {
    let scp = Scp::new(committing(|_, _| Commit::Silence));
    let gateway = Gateway::start(&scp.destination("archive", COMMIT));
    store(&gateway.node, 0..2);
    assert!(eventually(|| scp.asked().iter().map(|(_, references)| references.len()).sum::<usize>() == 2));
    gateway.wait_for_sent(2);
    let (transaction, uids) = scp.asked()[0].clone();
    let references: Vec<_> = uids.iter().map(|uid| (uid.clone(), None)).collect();
    let (mut wire, _) =
        Wire::associate(gateway.node.address(), reporting("ARCHIVE", RequestorRoles { scu: false, scp: true }));
    wire.send(&event_report_of("1.2.840.10008.5.1.4.1.1.4", REPORTS, &transaction, &references));
    assert_eq!(wire.response().status, 0x0115);
    assert_eq!(gateway.row().unwrap().sums.sent, 2);
    gateway.node.logged(&["report of commitment refused", "another sop class"]);
    wire.send(&event_report(REPORTS, &transaction, &references));
    assert_eq!(wire.response().status, 0);
}

/// And the association that waits for the response does not count against `connections`.
#[test]
fn a_request_without_a_response_delays_no_instance() {
    let scp = Scp::new(committing(|_, _| Commit::Hang));
    let gateway = Gateway::start(&scp.destination("archive", &format!("{COMMIT}\nconnections = 1")));
    store(&gateway.node, 0..2);
    assert!(eventually(|| !scp.asked().is_empty()));
    let began = std::time::Instant::now();
    store(&gateway.node, 2..20);
    scp.wait_for(20);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!gateway.node.log_text().contains("destination is down"));
}

#[cfg(feature = "test-faults")]
mod quick {
    use super::*;

    const ENVIRONMENT: [(&str, &str); 3] = [
        ("TIDEGATE_TEST_DELIVERY_RETRY_MS", "300"),
        ("TIDEGATE_TEST_COMMIT_RETRY_MS", "3000"),
        ("TIDEGATE_TEST_COMMIT_WITHIN_MS", "3000"),
    ];

    fn gateway(scp: &Scp) -> Gateway {
        Gateway::start_in(&ENVIRONMENT, None, &scp.destination("archive", COMMIT))
    }

    #[test]
    fn what_is_not_committed_is_sent_again_and_dies_in_the_end() {
        let judge = |of: &str, before: usize| match of {
            of if of == uid(1) && before == 0 => Some(0x0112),
            of if of == uid(2) => Some(0x0110),
            _ => None,
        };
        let scp = Scp::new(Behaviour { judge: Box::new(judge), ..Behaviour::default() });
        let gateway = gateway(&scp);
        store(&gateway.node, 0..4);
        gateway.wait_for(3, 1);
        let counts = scp.counts();
        assert_eq!((counts[&uid(0)], counts[&uid(1)], counts[&uid(2)]), (1, 2, 2));
        gateway.node.logged(&["instance not delivered", "not committed: reason 0110, processing failure"]);
    }

    #[test]
    fn a_silent_destination_is_asked_again_and_its_late_report_counts() {
        let node = Later::default();
        let of_scp = node.clone();
        let scp = Scp::new(committing(move |before, _| match before {
            0 => Commit::Silence,
            1 => Commit::Status(0x0110),
            2 => Commit::Close,
            _ => Commit::There(of_scp.lock().unwrap()),
        }));
        let gateway = gateway(&scp);
        *node.lock() = Some(gateway.node.address());
        store(&gateway.node, 0..4);
        gateway.node.logged(&["destination does not commit", "has not reported in time"]);
        gateway.node.logged(&["destination does not commit", "status 0110"]);
        gateway.wait_for(4, 0);
        gateway.node.logged(&["destination commits"]);
        assert!(scp.counts().values().all(|count| *count == 1), "asked again, and not sent again");
        let mut transactions: Vec<_> = scp.asked().into_iter().map(|(transaction, _)| transaction).collect();
        transactions.sort();
        transactions.dedup();
        assert_eq!(transactions.len(), scp.asked().len(), "each request has a transaction of its own");
    }

    /// A request that is refused is asked for in halves, until those are committed that can be.
    #[test]
    fn one_instance_for_which_no_request_is_taken_does_not_hold_the_others() {
        let refuses = |_, uids: &[String]| match uids.contains(&uid(5)) {
            true => Commit::Status(0x0110),
            false => Commit::Here,
        };
        let scp = Scp::new(committing(refuses));
        let quick = [("TIDEGATE_TEST_COMMIT_RETRY_MS", "100")];
        let gateway = Gateway::start_in(&quick, None, &scp.destination("archive", COMMIT));
        store(&gateway.node, 0..16);
        let is_so = eventually(|| gateway.row().is_some_and(|row| (row.sums.delivered, row.sums.sent) == (15, 1)));
        assert!(is_so, "{:?}", gateway.row());
        let sizes: Vec<_> = scp.asked().iter().map(|(_, uids)| uids.len()).collect();
        assert!(sizes.contains(&1), "{sizes:?}");
        assert!(scp.counts().values().all(|count| *count == 1));
        assert!(!gateway.node.log_text().contains("destination is down"));
    }

    /// Killed while a request is under way, the next process asks again, and takes the report of the former one's request.
    #[test]
    fn what_was_asked_is_known_after_a_kill() {
        let scp = Scp::new(committing(|_, _| Commit::Silence));
        let gateway = gateway(&scp);
        store(&gateway.node, 0..4);
        assert!(eventually(|| !scp.asked().is_empty()));
        let (transaction, uids) = scp.asked()[0].clone();
        let (root, _kept) = gateway.kill();
        let long = [("TIDEGATE_TEST_COMMIT_RETRY_MS", "600000")];
        let gateway = Gateway::start_in(&long, Some(&root), &scp.destination("archive", COMMIT));
        let roles = RequestorRoles { scu: false, scp: true };
        let references: Vec<_> = uids.iter().map(|uid| (uid.clone(), None)).collect();
        let is_taken = eventually(|| {
            let (mut wire, _) = Wire::associate(gateway.node.address(), reporting("ARCHIVE", roles));
            wire.send(&event_report(REPORTS, &transaction, &references));
            let status = wire.response().status;
            wire.release();
            status == 0
        });
        assert!(is_taken);
        assert!(eventually(|| gateway.row().is_some_and(|row| row.sums.delivered >= uids.len() as i64)));
        scp.behave(Behaviour::default());
        gateway.reload(&scp.destination("archive", &format!("{COMMIT}\npriority = 1")));
        assert!(scp.counts().values().all(|count| *count <= 2));
    }
}
