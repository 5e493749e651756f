//! The PS3.8 §9.2 state table, complete, as data: [`action`] looks up the action (`AA-8`, `AR-4`), [`Action::next`] the next state. As an acceptor
//! this node never requests a release, so it reaches six of the thirteen states: Sta1, Sta2, Sta3, Sta6, Sta8 and Sta13. As a requestor it
//! reaches all but those that are an acceptor's: Sta2, Sta3, Sta10 and Sta12.

/// The side of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was called.
    Acceptor,
    /// The one that called.
    Requestor,
}

/// A state of an association (PS3.8 §9.2.1), in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Idle: no transport connection, or one that is to be closed without a PDU.
    Sta1,
    /// Transport open, A-ASSOCIATE-RQ awaited.
    Sta2,
    /// The request has been read; the local answer is awaited.
    Sta3,
    /// Requestor: transport connection awaited.
    Sta4,
    /// Requestor: answer to the request awaited.
    Sta5,
    /// Association established, ready for data transfer.
    Sta6,
    /// Release asked for; A-RELEASE-RP awaited.
    Sta7,
    /// The peer asked for release; the local answer is awaited.
    Sta8,
    /// Release collision, requestor: the local answer is awaited.
    Sta9,
    /// Release collision, acceptor: A-RELEASE-RP awaited.
    Sta10,
    /// Release collision, requestor: A-RELEASE-RP awaited.
    Sta11,
    /// Release collision, acceptor: the local answer is awaited.
    Sta12,
    /// The last PDU is sent; the peer is to close the transport connection.
    Sta13,
}

/// An event (PS3.8 §9.2.3), in the order of the table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Local: request an association.
    RequestAssociation,
    /// The requested transport connection is open.
    TransportConfirmed,
    /// A-ASSOCIATE-AC PDU.
    AssociateAccept,
    /// A-ASSOCIATE-RJ PDU.
    AssociateReject,
    /// A transport connection came in.
    TransportIndicated,
    /// A-ASSOCIATE-RQ PDU.
    AssociateRequest,
    /// Local: accept the association.
    Accept,
    /// Local: reject the association.
    Reject,
    /// Local: send data.
    SendData,
    /// P-DATA-TF PDU.
    Data,
    /// Local: request release.
    RequestRelease,
    /// A-RELEASE-RQ PDU.
    ReleaseRequest,
    /// A-RELEASE-RP PDU.
    ReleaseReply,
    /// Local: answer the release request.
    AnswerRelease,
    /// Local: abort.
    RequestAbort,
    /// A-ABORT PDU.
    Abort,
    /// The transport connection was closed.
    TransportClosed,
    /// The ARTIM timer expired.
    ArtimExpired,
    /// A PDU that is unknown or malformed.
    Invalid,
}

/// The actions of PS3.8 §9.2.2, tables 9-6 to 9-9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the transport connection.
    Ae1,
    /// Send A-ASSOCIATE-RQ.
    Ae2,
    /// Take the acceptance.
    Ae3,
    /// Take the rejection, close the transport connection.
    Ae4,
    /// Take the transport connection, start ARTIM.
    Ae5,
    /// Stop ARTIM, take the request and decide about it.
    Ae6,
    /// Send A-ASSOCIATE-AC.
    Ae7,
    /// Send A-ASSOCIATE-RJ, start ARTIM.
    Ae8,
    /// Send P-DATA-TF.
    Dt1,
    /// Take the data.
    Dt2,
    /// Send A-RELEASE-RQ.
    Ar1,
    /// Take the release request.
    Ar2,
    /// Take the release reply, close the transport connection.
    Ar3,
    /// Send A-RELEASE-RP, start ARTIM.
    Ar4,
    /// Stop ARTIM.
    Ar5,
    /// Take the data, though release was asked for.
    Ar6,
    /// Send P-DATA-TF, though the peer asked for release.
    Ar7,
    /// Take the release request that met our own.
    Ar8,
    /// Send A-RELEASE-RP.
    Ar9,
    /// Take the release reply of a collision.
    Ar10,
    /// Send A-ABORT, source service-user, start ARTIM.
    Aa1,
    /// Stop ARTIM, close the transport connection.
    Aa2,
    /// Take the peer's abort, close the transport connection.
    Aa3,
    /// Take the loss of the transport connection for an abort.
    Aa4,
    /// Stop ARTIM.
    Aa5,
    /// Ignore the PDU.
    Aa6,
    /// Send A-ABORT once more.
    Aa7,
    /// Send A-ABORT, source service-provider, start ARTIM.
    Aa8,
}

/// PS3.8 table 9-10: a row for each [`Input`], a column for each [`State`].
const TABLE: [[Option<Action>; 13]; 19] = {
    use Action::*;
    const fn cell(action: Action) -> Option<Action> {
        Some(action)
    }
    const NO: Option<Action> = None;
    const E1: Option<Action> = cell(Ae1);
    const E2: Option<Action> = cell(Ae2);
    const E3: Option<Action> = cell(Ae3);
    const E4: Option<Action> = cell(Ae4);
    const E5: Option<Action> = cell(Ae5);
    const E6: Option<Action> = cell(Ae6);
    const E7: Option<Action> = cell(Ae7);
    const E8: Option<Action> = cell(Ae8);
    const D1: Option<Action> = cell(Dt1);
    const D2: Option<Action> = cell(Dt2);
    const R1: Option<Action> = cell(Ar1);
    const R2: Option<Action> = cell(Ar2);
    const R3: Option<Action> = cell(Ar3);
    const R4: Option<Action> = cell(Ar4);
    const R5: Option<Action> = cell(Ar5);
    const R6: Option<Action> = cell(Ar6);
    const R7: Option<Action> = cell(Ar7);
    const R8: Option<Action> = cell(Ar8);
    const R9: Option<Action> = cell(Ar9);
    const R0: Option<Action> = cell(Ar10);
    const A1: Option<Action> = cell(Aa1);
    const A2: Option<Action> = cell(Aa2);
    const A3: Option<Action> = cell(Aa3);
    const A4: Option<Action> = cell(Aa4);
    const A5: Option<Action> = cell(Aa5);
    const A6: Option<Action> = cell(Aa6);
    const A7: Option<Action> = cell(Aa7);
    const A8: Option<Action> = cell(Aa8);
    [
        // 1  2   3   4   5   6   7   8   9   10  11  12  13
        [E1, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO], // A-ASSOCIATE request
        [NO, NO, NO, E2, NO, NO, NO, NO, NO, NO, NO, NO, NO], // transport connection confirmed
        [NO, A1, A8, NO, E3, A8, A8, A8, A8, A8, A8, A8, A6], // A-ASSOCIATE-AC PDU
        [NO, A1, A8, NO, E4, A8, A8, A8, A8, A8, A8, A8, A6], // A-ASSOCIATE-RJ PDU
        [E5, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO], // transport connection indicated
        [NO, E6, A8, NO, A8, A8, A8, A8, A8, A8, A8, A8, A7], // A-ASSOCIATE-RQ PDU
        [NO, NO, E7, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO], // A-ASSOCIATE response, accept
        [NO, NO, E8, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO], // A-ASSOCIATE response, reject
        [NO, NO, NO, NO, NO, D1, NO, R7, NO, NO, NO, NO, NO], // P-DATA request
        [NO, A1, A8, NO, A8, D2, R6, A8, A8, A8, A8, A8, A6], // P-DATA-TF PDU
        [NO, NO, NO, NO, NO, R1, NO, NO, NO, NO, NO, NO, NO], // A-RELEASE request
        [NO, A1, A8, NO, A8, R2, R8, A8, A8, A8, A8, A8, A6], // A-RELEASE-RQ PDU
        [NO, A1, A8, NO, A8, A8, R3, A8, A8, R0, R3, A8, A6], // A-RELEASE-RP PDU
        [NO, NO, NO, NO, NO, NO, NO, R4, R9, NO, NO, R4, NO], // A-RELEASE response
        [NO, NO, A1, A2, A1, A1, A1, A1, A1, A1, A1, A1, NO], // A-ABORT request
        [NO, A2, A3, NO, A3, A3, A3, A3, A3, A3, A3, A3, A2], // A-ABORT PDU
        [NO, A5, A4, A4, A4, A4, A4, A4, A4, A4, A4, A4, R5], // transport connection closed
        [NO, A2, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, A2], // ARTIM timer expired
        [NO, A1, A8, NO, A8, A8, A8, A8, A8, A8, A8, A8, A7], // unrecognized or invalid PDU
    ]
};

/// The action for `input` in `state` (PS3.8 table 9-10); `None` where the table is blank: the combination cannot happen.
pub fn action(state: State, input: Input) -> Option<Action> {
    TABLE[input as usize][state as usize]
}

impl Action {
    /// The state the action leads to on that side (PS3.8 §9.2.2).
    pub fn next(self, side: Side) -> State {
        match self {
            Self::Ae4 | Self::Ar3 | Self::Ar5 | Self::Aa2 | Self::Aa3 | Self::Aa4 | Self::Aa5 => State::Sta1,
            Self::Ae5 => State::Sta2,
            Self::Ae6 => State::Sta3,
            Self::Ae1 => State::Sta4,
            Self::Ae2 => State::Sta5,
            Self::Ae3 | Self::Ae7 | Self::Dt1 | Self::Dt2 => State::Sta6,
            Self::Ar1 | Self::Ar6 => State::Sta7,
            Self::Ar2 | Self::Ar7 => State::Sta8,
            Self::Ar8 if side == Side::Requestor => State::Sta9,
            Self::Ar8 => State::Sta10,
            Self::Ar9 => State::Sta11,
            Self::Ar10 => State::Sta12,
            Self::Ae8 | Self::Ar4 | Self::Aa1 | Self::Aa6 | Self::Aa7 | Self::Aa8 => State::Sta13,
        }
    }
}

#[cfg(test)]
mod tests;
