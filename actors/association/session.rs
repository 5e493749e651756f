//! The association as negotiated: the protocol's state machine, the window, and the phase (established, being released, over).

use std::sync::Arc;

use bytes::BytesMut;
use tidegate_protocol::commitment::Encoding;
use tidegate_protocol::state::State;
use tidegate_protocol::{
    ActionStatus, AeTitles, Association, CannotSend, ErrorComment, Event, Operation, Policy, RefusedContexts,
    Rejection, ReportStatus, Status,
};

/// The association as negotiated, and its phase.
pub(super) struct Session {
    protocol: Association,
    /// Operations that the peer may have outstanding (asynchronous operations window).
    window: usize,
    is_established: bool,
    /// Whether the peer has asked for release.
    is_releasing: bool,
    /// Whether the connection has ended in order, so that the drop need not send an A-ABORT.
    has_ended: bool,
}

impl Session {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        let protocol = Association::new(policy);
        Self { protocol, window: 1, is_established: false, is_releasing: false, has_ended: false }
    }

    /// As [`Association::poll`].
    pub(super) fn poll(&mut self, input: &mut BytesMut) -> Option<Event> {
        self.protocol.poll(input)
    }

    /// As [`Association::refused_titles`].
    pub(super) fn refused_titles(&self) -> Option<&AeTitles> {
        self.protocol.refused_titles()
    }

    /// As [`Association::needed`].
    pub(super) fn needed(&self) -> usize {
        self.protocol.needed()
    }

    /// As [`Association::dataset_left`].
    pub(super) fn dataset_left(&self) -> usize {
        self.protocol.dataset_left()
    }

    /// As [`Association::pass_dataset`].
    pub(super) fn pass_dataset(&mut self, bytes: usize) {
        self.protocol.pass_dataset(bytes);
    }

    /// Bytes for the peer, if there are any.
    pub(super) fn take_output(&mut self) -> Option<Vec<u8>> {
        self.protocol.has_output().then(|| self.protocol.take_output())
    }

    /// Whether the A-ASSOCIATE-RQ has arrived.
    pub(super) fn is_requested(&self) -> bool {
        self.protocol.state() != State::Sta2
    }

    /// Whether the association was accepted.
    pub(super) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the peer has begun a message and owes the rest. `has_unparsed`: part of a header has arrived.
    pub(super) fn is_owed(&self, has_unparsed: bool) -> bool {
        self.protocol.state() == State::Sta6 && (self.protocol.is_inside_message() || has_unparsed)
    }

    /// Whether the window has room, with `with_writers` operations at the writers, and so have the responses that wait for the end of a
    /// report.
    pub(super) fn may_read(&self, with_writers: usize) -> bool {
        !self.is_releasing && with_writers < self.window && !self.protocol.is_congested()
    }

    /// Accepts the association, with a window of `async_operations`.
    pub(super) fn accept(&mut self, async_operations: u16) {
        self.protocol.accept();
        self.is_established = true;
        self.window = usize::from(async_operations);
    }

    /// As [`Association::reject_contexts`].
    pub(super) fn reject_contexts(&mut self, denied: impl Fn(&str) -> bool, refused: &mut RefusedContexts) {
        self.protocol.reject_contexts(denied, refused);
    }

    /// As [`Association::can_store`].
    pub(super) fn can_store(&self) -> bool {
        self.protocol.can_store()
    }

    /// As [`Association::abstract_syntaxes`].
    pub(super) fn abstract_syntaxes(&self) -> impl Iterator<Item = &str> {
        self.protocol.abstract_syntaxes()
    }

    /// As [`Association::confirm_user`].
    pub(super) fn confirm_user(&mut self) {
        self.protocol.confirm_user();
    }

    /// As [`Association::reject`].
    pub(super) fn reject(&mut self, rejection: Rejection) {
        self.protocol.reject(rejection);
    }

    /// As [`Association::respond`].
    pub(super) fn respond(&mut self, operation: &Operation, status: Status, comment: &ErrorComment) {
        self.protocol.respond(operation, status, comment);
    }

    /// As [`Association::respond_action`].
    pub(super) fn respond_action(&mut self, operation: &Operation, status: ActionStatus, comment: &ErrorComment) {
        self.protocol.respond_action(operation, status, comment);
    }

    /// As [`Association::respond_report`].
    pub(super) fn respond_report(&mut self, operation: &Operation, status: ReportStatus, comment: &ErrorComment) {
        self.protocol.respond_report(operation, status, comment);
    }

    /// As [`Association::take_reports`].
    pub(super) fn take_reports(&mut self) {
        self.protocol.take_reports();
    }

    /// The encoding of reports; `None`: none can be sent on this association.
    pub(super) fn report_encoding(&self) -> Option<Encoding> {
        self.protocol.report_context().and_then(|(_, transfer_syntax)| Encoding::of(transfer_syntax))
    }

    /// As [`Association::is_reporting`].
    pub(super) fn is_reporting(&self) -> bool {
        self.protocol.is_reporting()
    }

    /// As [`Association::is_sending_report`].
    pub(super) fn is_sending_report(&self) -> bool {
        self.protocol.is_sending_report()
    }

    /// As [`Association::begin_event_report`].
    pub(super) fn begin_event_report(&mut self, event_type: u16) -> Result<(), CannotSend> {
        self.protocol.begin_event_report(event_type).map(drop)
    }

    /// As [`Association::push_report`].
    pub(super) fn push_report(&mut self, bytes: &[u8]) {
        self.protocol.push_report(bytes);
    }

    /// As [`Association::end_report`].
    pub(super) fn end_report(&mut self) {
        self.protocol.end_report();
    }

    /// Begins the release: nothing more is read, and the A-RELEASE-RP follows the responses to all operations.
    pub(super) fn begin_release(&mut self) {
        self.is_releasing = true;
    }

    /// Whether the peer has asked for release.
    pub(super) fn is_releasing(&self) -> bool {
        self.is_releasing
    }

    /// As [`Association::answer_release`].
    pub(super) fn answer_release(&mut self) {
        self.protocol.answer_release();
    }

    /// As [`Association::abort`].
    pub(super) fn abort(&mut self) {
        self.protocol.abort();
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether the connection has ended in order.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended || matches!(self.protocol.state(), State::Sta1 | State::Sta13)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocol::requestor::{Proposal, ProposedContext, Role};
    use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT};
    use tidegate_protocol::{Invocation, Requestor};

    use super::*;

    fn session() -> Session {
        Session::new(Arc::new(Policy {
            ae_title: "TIDEGATE".to_owned(),
            require_called_ae_title: false,
            max_pdu_length: 0,
            max_request_length: 1 << 16,
            max_command_set: 1 << 16,
            async_operations: 1,
            strict: false,
            accept_unknown_sop_classes: false,
            accept_unknown_transfer_syntaxes: false,
            storage_commitment: true,
            transfer_syntax_preference: Vec::new(),
        }))
    }

    #[test]
    fn a_full_window_and_a_release_stop_the_reading() {
        let mut session = session();
        assert!(session.may_read(0) && !session.may_read(1));
        session.accept(3);
        assert!(session.may_read(2) && !session.may_read(3));
        session.begin_release();
        assert!(!session.may_read(0) && session.is_releasing());
    }

    #[test]
    fn responses_that_pile_up_behind_a_report_stop_the_reading_until_its_end() {
        let context = ProposedContext {
            abstract_syntax: STORAGE_COMMITMENT.into(),
            transfer_syntaxes: vec![EXPLICIT_VR_LITTLE_ENDIAN.into()],
            role: Role::Scu,
        };
        let mut peer = Requestor::new(Proposal {
            calling_ae_title: "CT1".to_owned(),
            called_ae_title: "TIDEGATE".to_owned(),
            contexts: vec![context],
            max_pdu_length: 0,
            max_command_set: 1 << 16,
            async_operations: 1,
        })
        .unwrap();
        let mut session = session();
        let said = |peer: &mut Requestor| BytesMut::from(&peer.take_output()[..]);
        assert!(matches!(session.poll(&mut said(&mut peer)), Some(Event::AssociateRequested(_))));
        session.accept(1);
        peer.poll(&mut BytesMut::from(&session.take_output().unwrap()[..]));
        peer.begin(1, &Invocation::RequestCommitment).unwrap();
        let Some(Event::ActionRequested(request)) = session.poll(&mut said(&mut peer)) else { panic!("no request") };
        session.begin_event_report(1).unwrap();
        let mut responses = 0;
        while session.may_read(0) {
            session.respond_action(&request.operation, ActionStatus::Success, &ErrorComment::default());
            responses += 1;
            assert!(responses < 1000, "no bound");
        }
        session.end_report();
        assert!(session.may_read(0));
    }

    #[test]
    fn before_a_request_the_peer_owes_nothing_and_hears_nothing() {
        let mut session = session();
        assert!(!session.is_requested() && !session.is_owed(true) && !session.is_over());
        assert!(session.take_output().is_none());
        session.end();
        assert!(session.is_over());
    }
}
