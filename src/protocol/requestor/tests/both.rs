//! Both sides of this crate against one another: what one sends, the other understands, whatever PDUs they take.

use std::sync::Arc;

use bytes::BytesMut;

use super::peer::*;
use crate::requestor::{Event, Requestor, Role};
use crate::syntaxes::{IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT, STORAGE_COMMITMENT, VERIFICATION};
use crate::{
    ActionStatus, Association, ErrorComment, Event as Heard, Invocation, Policy, Priority, ReportStatus, State, Status,
};

struct Both {
    requestor: Requestor,
    acceptor: Association,
    /// Bytes of a piece on the way.
    piece: usize,
}

impl Both {
    fn new(piece: usize, requestor_takes: u32, acceptor_takes: u32) -> Self {
        let mut proposal = proposal();
        proposal.max_pdu_length = requestor_takes;
        proposal.contexts[2] = context(STORAGE_COMMITMENT, &[IMPLICIT], Role::Scu);
        let policy = Policy {
            ae_title: "MODALITY".into(),
            require_called_ae_title: true,
            max_pdu_length: acceptor_takes,
            max_request_length: 16_384,
            max_command_set: 4096,
            async_operations: 2,
            strict: true,
            accept_unknown_sop_classes: false,
            accept_unknown_transfer_syntaxes: false,
            storage_commitment: true,
            transfer_syntax_preference: vec![],
        };
        Self { requestor: Requestor::new(proposal).unwrap(), acceptor: Association::new(Arc::new(policy)), piece }
    }

    /// Carries the requestor's output over.
    fn there(&mut self) -> Vec<Heard> {
        let (mut input, mut events) = (BytesMut::new(), vec![]);
        for piece in self.requestor.take_output().chunks(self.piece) {
            input.extend_from_slice(piece);
            events.extend(std::iter::from_fn(|| self.acceptor.poll(&mut input)));
        }
        assert!(input.is_empty());
        events
    }

    /// Answers the report among these events, which is whole.
    fn answer_report(&mut self, events: &[Event]) {
        let fragments = events.iter().filter_map(|event| match event {
            Event::Fragment(fragment) => Some(&fragment[..]),
            _ => None,
        });
        assert_eq!(fragments.collect::<Vec<_>>().concat(), b"event information");
        let report = events.iter().find_map(|event| match event {
            Event::ReportRequested(report) => Some(report),
            _ => None,
        });
        let report = report.unwrap();
        assert_eq!((report.fault(), &*report.transfer_syntax), (None, IMPLICIT));
        self.requestor.respond_report(&report.operation, ReportStatus::Success, &ErrorComment::default());
        let heard = self.there();
        let [Heard::EventReported(response)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((response.status, response.event_type), (0, Some(1)));
    }

    /// Carries the acceptor's output back.
    fn back(&mut self) -> Vec<Event> {
        let bytes = self.acceptor.take_output();
        feed_cut(&mut self.requestor, &bytes, self.piece)
    }
}

fn dataset(events: &[Heard]) -> Vec<u8> {
    let fragments = events.iter().filter_map(|event| match event {
        Heard::Fragment(fragment) => Some(&fragment[..]),
        _ => None,
    });
    fragments.collect::<Vec<_>>().concat()
}

#[test]
fn what_one_side_sends_the_other_understands() {
    for (piece, requestor_takes, acceptor_takes) in [(1, 0, 0), (13, 8, 8), (1000, 16_384, 20), (100_000, 16_384, 4096)]
    {
        let mut both = Both::new(piece, requestor_takes, acceptor_takes);
        let heard = both.there();
        let [Heard::AssociateRequested(request)] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((request.contexts_proposed, request.contexts_accepted, request.async_operations), (4, 3, 2));
        both.acceptor.accept();
        let events = both.back();
        let [Event::Accepted(acceptance)] = &events[..] else { panic!("{events:?}") };
        let is_accepted: Vec<_> = acceptance.contexts.iter().map(|context| context.outcome.is_ok()).collect();
        assert_eq!(is_accepted, [true, true, true, false]);
        assert_eq!((acceptance.peer_max_pdu_length, acceptance.async_operations), (acceptor_takes, 2));
        assert_eq!(&*acceptance.contexts[0].abstract_syntax, VERIFICATION);

        both.requestor.begin(1, &Invocation::Echo).unwrap();
        assert_eq!(both.there(), [Heard::Echoed]);
        assert!(matches!(&both.back()[..], [Event::Responded(response)] if response.status == 0));

        let instance: Vec<u8> = (0..5000_u32).map(|n| n as u8).collect();
        both.requestor
            .begin(3, &Invocation::Store { sop_class: CT, sop_instance: "1.2.3", priority: Priority::Medium })
            .unwrap();
        both.requestor.push_dataset(&instance);
        both.requestor.end_dataset();
        let heard = both.there();
        let [Heard::StoreRequested(store), .., Heard::DatasetComplete] = &heard[..] else { panic!("{heard:?}") };
        assert!(dataset(&heard) == instance);
        assert_eq!(store.affected_sop_instance_uid(), b"1.2.3\0");
        let store = store.operation.clone();

        // The C-STORE is answered behind the report of an N-ACTION that came in between.
        both.requestor.begin(5, &Invocation::RequestCommitment).unwrap();
        both.requestor.push_dataset(b"action information");
        both.requestor.end_dataset();
        let heard = both.there();
        let [Heard::ActionRequested(action), .., Heard::DatasetComplete] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((action.fault(), &dataset(&heard)[..]), (None, &b"action information"[..]));
        both.acceptor.respond_action(&action.operation, ActionStatus::Success, &ErrorComment::default());
        both.acceptor.begin_event_report(1).unwrap();
        both.acceptor.push_report(b"event information");
        both.acceptor.respond(&store, Status::Success, &ErrorComment::default());
        both.acceptor.end_report();
        let events = both.back();
        let told: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Responded(response) => ("responded", response.request),
                Event::ReportRequested(_) => ("reported", 0x0100),
                Event::Fragment(_) => ("", 0),
                Event::DatasetComplete => ("complete", 0),
                other => panic!("{other:?}"),
            })
            .filter(|(what, _)| !what.is_empty())
            .collect();
        assert_eq!(told, [("responded", 0x0130), ("reported", 0x0100), ("complete", 0), ("responded", 0x0001)]);
        both.answer_report(&events);
        assert!(!both.acceptor.is_reporting());

        both.requestor.release().unwrap();
        assert_eq!(both.there(), [Heard::ReleaseRequested]);
        both.acceptor.answer_release();
        assert_eq!(both.back(), [Event::Released]);
        assert_eq!((both.requestor.state(), both.acceptor.state()), (State::Sta1, State::Sta13));
    }
}

/// A peer that asks to be an SCP of storage commitment is one where the caller says so, and nowhere else.
#[test]
fn reports_come_across_to_who_takes_them() {
    for is_taken in [true, false] {
        let mut both = Both::new(100, 0, 0);
        let mut proposal = proposal();
        proposal.contexts = vec![context(STORAGE_COMMITMENT, &[IMPLICIT], Role::Scp)];
        both.requestor = Requestor::new(proposal).unwrap();
        both.there();
        if is_taken {
            both.acceptor.take_reports();
        }
        both.acceptor.accept();
        let events = both.back();
        let [Event::Accepted(acceptance)] = &events[..] else { panic!("{events:?}") };
        let accepted = acceptance.contexts[0].outcome.clone().unwrap();
        assert_eq!((accepted.is_scu, accepted.is_scp), (false, is_taken));
        assert_eq!(both.acceptor.report_context(), None, "the peer is no scu");
        let begun = both.requestor.begin(1, &Invocation::ReportCommitment { event_type: 2 });
        assert_eq!(begun.is_ok(), is_taken);
        if !is_taken {
            continue;
        }
        both.requestor.push_dataset(b"event information");
        both.requestor.end_dataset();
        let heard = both.there();
        let [Heard::ReportRequested(report), .., Heard::DatasetComplete] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((report.fault(), &dataset(&heard)[..]), (None, &b"event information"[..]));
        both.acceptor.respond_report(&report.operation, ReportStatus::InvalidArgument, &ErrorComment::default());
        let events = both.back();
        let [Event::Responded(response)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((response.status, response.event_type), (0x0115, Some(2)));
    }
}

#[test]
fn a_rejection_comes_across() {
    let mut both = Both::new(10, 0, 0);
    both.there();
    both.acceptor.reject(crate::Rejection::LocalLimitExceeded);
    let events = both.back();
    let [Event::Rejected(rejection)] = events[..] else { panic!("{events:?}") };
    assert!(rejection.is_transient());
    assert_eq!(rejection.reason_name(), "local-limit-exceeded");
}
