//! The PS3.8 §9.2 state table, as far as an acceptor that never asks for a release can get in it.
//!
//! The table is data: [`action`] names what the standard names (`AA-8`, `AR-4`), [`Action::next`] where it leads.

/// Where an association stands (PS3.8 §9.2.1). Sta1 and Sta13 are told apart by the transport: after Sta13 nothing but its
/// closing is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Transport open, A-ASSOCIATE-RQ awaited.
    Sta2,
    /// The request has been read; the local answer is awaited.
    Sta3,
    /// Association established, ready for data transfer.
    Sta6,
    /// The peer asked for release; the local answer is awaited.
    Sta8,
    /// Our last word is said; the peer is to close the transport connection.
    Sta13,
}

/// What can happen (PS3.8 §9.2.3, the rows of table 9-10 that an acceptor meets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A-ASSOCIATE-RQ PDU.
    AssociateRequest,
    /// A-ASSOCIATE-AC PDU.
    AssociateAccept,
    /// A-ASSOCIATE-RJ PDU.
    AssociateReject,
    /// P-DATA-TF PDU.
    Data,
    /// A-RELEASE-RQ PDU.
    ReleaseRequest,
    /// A-RELEASE-RP PDU.
    ReleaseReply,
    /// A-ABORT PDU.
    Abort,
    /// A PDU that is unknown or malformed.
    Invalid,
    /// Local: accept the association.
    Accept,
    /// Local: reject the association.
    Reject,
    /// Local: answer the release request.
    AnswerRelease,
    /// Local: abort.
    RequestAbort,
}

/// The actions of PS3.8 §9.2.2 that an acceptor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take the request and decide about it.
    Ae6,
    /// Send A-ASSOCIATE-AC.
    Ae7,
    /// Send A-ASSOCIATE-RJ, start ARTIM.
    Ae8,
    /// Take the data.
    Dt2,
    /// Take the release request.
    Ar2,
    /// Send A-RELEASE-RP, start ARTIM.
    Ar4,
    /// Send A-ABORT, source service-user, start ARTIM.
    Aa1,
    /// Stop ARTIM, close the transport connection.
    Aa2,
    /// Take the peer's abort, close the transport connection.
    Aa3,
    /// Ignore the PDU.
    Aa6,
    /// Send A-ABORT once more.
    Aa7,
    /// Send A-ABORT, source service-provider, start ARTIM.
    Aa8,
}

/// What to do in `state` when `input` happens (PS3.8 table 9-10); `None` for a local request that makes no sense in that state,
/// where the table is blank.
pub fn action(state: State, input: Input) -> Option<Action> {
    use Action::*;
    use Input as I;
    use State::*;
    Some(match (state, input) {
        (Sta2, I::AssociateRequest) => Ae6,
        (Sta2, I::Abort) => Aa2,
        (
            Sta2,
            I::AssociateAccept | I::AssociateReject | I::Data | I::ReleaseRequest | I::ReleaseReply | I::Invalid,
        ) => Aa1,
        // Blank in the table. There is nothing to abort yet, so it is as when the ARTIM timer expires.
        (Sta2, I::RequestAbort) => Aa2,
        (Sta2, I::Accept | I::Reject | I::AnswerRelease) => return None,

        (Sta3, I::Accept) => Ae7,
        (Sta3, I::Reject) => Ae8,
        (Sta6, I::Data) => Dt2,
        (Sta6, I::ReleaseRequest) => Ar2,
        (Sta8, I::AnswerRelease) => Ar4,
        (Sta3 | Sta6 | Sta8, I::Abort) => Aa3,
        (Sta3 | Sta6 | Sta8, I::RequestAbort) => Aa1,
        (Sta3, I::AnswerRelease) | (Sta6, I::Accept | I::Reject | I::AnswerRelease) => return None,
        (Sta8, I::Accept | I::Reject) => return None,
        (
            Sta3 | Sta6 | Sta8,
            I::AssociateRequest
            | I::AssociateAccept
            | I::AssociateReject
            | I::Data
            | I::ReleaseRequest
            | I::ReleaseReply
            | I::Invalid,
        ) => Aa8,

        (Sta13, I::AssociateRequest | I::Invalid) => Aa7,
        (Sta13, I::AssociateAccept | I::AssociateReject | I::Data | I::ReleaseRequest | I::ReleaseReply) => Aa6,
        (Sta13, I::Abort) => Aa2,
        (Sta13, I::Accept | I::Reject | I::AnswerRelease | I::RequestAbort) => return None,
    })
}

impl Action {
    /// The state the action leads to (PS3.8 §9.2.2). Where the action is to close the transport (AA-2, AA-3) that is Sta13 here,
    /// and nothing more is said or heard.
    pub fn next(self) -> State {
        match self {
            Self::Ae6 => State::Sta3,
            Self::Ae7 | Self::Dt2 => State::Sta6,
            Self::Ar2 => State::Sta8,
            Self::Ae8 | Self::Ar4 | Self::Aa1 | Self::Aa2 | Self::Aa3 | Self::Aa6 | Self::Aa7 | Self::Aa8 => {
                State::Sta13
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PS3.8 table 9-10, transcribed: columns Sta2, Sta3, Sta6, Sta8, Sta13. The one addition is a local abort in Sta2.
    #[test]
    fn the_table_is_the_standards() {
        use Action::*;
        use Input as I;
        use State::*;
        let states = [Sta2, Sta3, Sta6, Sta8, Sta13];
        let rows: &[(Input, [Option<Action>; 5])] = &[
            (I::AssociateAccept, [Some(Aa1), Some(Aa8), Some(Aa8), Some(Aa8), Some(Aa6)]),
            (I::AssociateReject, [Some(Aa1), Some(Aa8), Some(Aa8), Some(Aa8), Some(Aa6)]),
            (I::AssociateRequest, [Some(Ae6), Some(Aa8), Some(Aa8), Some(Aa8), Some(Aa7)]),
            (I::Accept, [None, Some(Ae7), None, None, None]),
            (I::Reject, [None, Some(Ae8), None, None, None]),
            (I::Data, [Some(Aa1), Some(Aa8), Some(Dt2), Some(Aa8), Some(Aa6)]),
            (I::ReleaseRequest, [Some(Aa1), Some(Aa8), Some(Ar2), Some(Aa8), Some(Aa6)]),
            (I::ReleaseReply, [Some(Aa1), Some(Aa8), Some(Aa8), Some(Aa8), Some(Aa6)]),
            (I::AnswerRelease, [None, None, None, Some(Ar4), None]),
            (I::RequestAbort, [Some(Aa2), Some(Aa1), Some(Aa1), Some(Aa1), None]),
            (I::Abort, [Some(Aa2), Some(Aa3), Some(Aa3), Some(Aa3), Some(Aa2)]),
            (I::Invalid, [Some(Aa1), Some(Aa8), Some(Aa8), Some(Aa8), Some(Aa7)]),
        ];
        for (input, row) in rows {
            for (state, expected) in states.iter().zip(row) {
                assert_eq!(action(*state, *input), *expected, "{state:?} {input:?}");
            }
        }
    }
}
