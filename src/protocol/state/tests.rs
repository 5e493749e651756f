//! Every cell of the table, by the rules that the text of PS3.8 §9.2 gives for it. That the acceptor's cells do on the wire what
//! they say is tested with [`Association`](crate::Association), in `association/tests/states.rs`.

use super::Action::*;
use super::Input as I;
use super::State::*;
use super::*;

const STATES: [State; 13] = [Sta1, Sta2, Sta3, Sta4, Sta5, Sta6, Sta7, Sta8, Sta9, Sta10, Sta11, Sta12, Sta13];
const INPUTS: [Input; 19] = [
    I::RequestAssociation,
    I::TransportConfirmed,
    I::AssociateAccept,
    I::AssociateReject,
    I::TransportIndicated,
    I::AssociateRequest,
    I::Accept,
    I::Reject,
    I::SendData,
    I::Data,
    I::RequestRelease,
    I::ReleaseRequest,
    I::ReleaseReply,
    I::AnswerRelease,
    I::RequestAbort,
    I::Abort,
    I::TransportClosed,
    I::ArtimExpired,
    I::Invalid,
];

/// The action of one cell, told from what state and event mean instead of from where they stand.
fn by_the_text(state: State, input: Input) -> Option<Action> {
    // The events each state is there for.
    let awaited = match (state, input) {
        (Sta1, I::RequestAssociation) => Some(Ae1),
        (Sta4, I::TransportConfirmed) => Some(Ae2),
        (Sta5, I::AssociateAccept) => Some(Ae3),
        (Sta5, I::AssociateReject) => Some(Ae4),
        (Sta1, I::TransportIndicated) => Some(Ae5),
        (Sta2, I::AssociateRequest) => Some(Ae6),
        (Sta3, I::Accept) => Some(Ae7),
        (Sta3, I::Reject) => Some(Ae8),
        (Sta6, I::SendData) => Some(Dt1),
        (Sta6, I::Data) => Some(Dt2),
        (Sta6, I::RequestRelease) => Some(Ar1),
        (Sta6, I::ReleaseRequest) => Some(Ar2),
        (Sta7 | Sta11, I::ReleaseReply) => Some(Ar3),
        (Sta8 | Sta12, I::AnswerRelease) => Some(Ar4),
        (Sta7, I::Data) => Some(Ar6),
        (Sta8, I::SendData) => Some(Ar7),
        (Sta7, I::ReleaseRequest) => Some(Ar8),
        (Sta9, I::AnswerRelease) => Some(Ar9),
        (Sta10, I::ReleaseReply) => Some(Ar10),
        _ => None,
    };
    let is_pdu = matches!(
        input,
        I::AssociateAccept
            | I::AssociateReject
            | I::AssociateRequest
            | I::Data
            | I::ReleaseRequest
            | I::ReleaseReply
            | I::Invalid
    );
    awaited.or_else(|| match (state, input) {
        // No transport connection: nothing can come.
        (Sta1, _) => None,
        (Sta4, I::RequestAbort) => Some(Aa2),
        (Sta4, I::TransportClosed) => Some(Aa4),
        (Sta4, _) => None,
        // No association yet, or no longer.
        (Sta2, I::Abort | I::ArtimExpired) | (Sta13, I::Abort | I::ArtimExpired) => Some(Aa2),
        (Sta2, I::TransportClosed) => Some(Aa5),
        (Sta13, I::TransportClosed) => Some(Ar5),
        (Sta2, _) => is_pdu.then_some(Aa1),
        (Sta13, I::AssociateRequest | I::Invalid) => Some(Aa7),
        (Sta13, _) => is_pdu.then_some(Aa6),
        // An association, or half of one.
        (_, I::RequestAbort) => Some(Aa1),
        (_, I::Abort) => Some(Aa3),
        (_, I::TransportClosed) => Some(Aa4),
        _ => is_pdu.then_some(Aa8),
    })
}

#[test]
fn every_cell_is_the_standards() {
    for (row, input) in INPUTS.into_iter().enumerate() {
        assert_eq!(input as usize, row);
        for (column, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, column);
            assert_eq!(action(state, input), by_the_text(state, input), "{state:?} {input:?}");
        }
    }
}

/// The states that a side meets from Sta1 on without the inputs that it never gives.
fn met(side: Side, never: &[Input]) -> Vec<State> {
    let mut met = vec![Sta1];
    let mut at = 0;
    while let Some(&state) = met.get(at) {
        for input in INPUTS.into_iter().filter(|input| !never.contains(input)) {
            match action(state, input).map(|action| action.next(side)) {
                Some(next) if !met.contains(&next) => met.push(next),
                _ => {}
            }
        }
        at += 1;
    }
    met.sort_by_key(|state| *state as usize);
    met
}

#[test]
fn an_acceptor_that_asks_for_nothing_meets_six_states() {
    let never = [I::RequestAssociation, I::TransportConfirmed, I::RequestRelease];
    assert_eq!(met(Side::Acceptor, &never), [Sta1, Sta2, Sta3, Sta6, Sta8, Sta13]);
}

#[test]
fn a_requestor_meets_all_states_but_the_acceptors() {
    let met = met(Side::Requestor, &[I::TransportIndicated, I::Accept, I::Reject]);
    assert_eq!(met, [Sta1, Sta4, Sta5, Sta6, Sta7, Sta8, Sta9, Sta11, Sta13]);
}
