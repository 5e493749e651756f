//! The state of `top`: the past seconds, the last look, the selection; and the effect of each key.

use std::cmp::Reverse;
use std::collections::HashMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::Serialize;

use crate::admin::model::{Association, Second, Status};
use crate::admin::writers::Writers;
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;

/// Seconds of history that a view begins with, and keeps.
pub(super) const PAST_SECONDS: u64 = 300;

/// The node at one moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) associations: Vec<Association>,
    pub(super) writers: Writers,
}

impl Look {
    pub(super) fn at(client: &Client) -> Result<Self, AskError> {
        Ok(Self { status: client.status()?, associations: client.associations()?, writers: client.writers()? })
    }
}

/// The order of the associations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Held,
    Rate,
    Received,
    Age,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Held => Self::Rate,
            Self::Rate => Self::Received,
            Self::Received => Self::Age,
            Self::Age => Self::Held,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Held => "memory held",
            Self::Rate => "rate",
            Self::Received => "received",
            Self::Age => "age",
        }
    }
}

/// The action that a key asks of the screen loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing,
    Leave,
    Abort(u64),
}

/// The view: its data and its selection.
#[derive(Debug)]
pub(super) struct View {
    pub(super) past: Vec<Second>,
    pub(super) look: Look,
    pub(super) sort: Sort,
    /// Bytes a second since the previous look, by association.
    rates: HashMap<u64, u64>,
    chosen: Option<u64>,
    /// The association whose abort awaits a confirmation.
    pub(super) confirming: Option<u64>,
    /// The last event, as a message.
    pub(super) notice: String,
}

impl View {
    pub(super) fn new(past: Vec<Second>, look: Look) -> Self {
        let rates = HashMap::new();
        let notice = String::new();
        Self { past, look, sort: Sort::Held, rates, chosen: None, confirming: None, notice }
    }

    /// Takes in another look.
    pub(super) fn take(&mut self, look: Look) {
        self.notice.clear();
        let span_ms = look.status.now_unix_ms.saturating_sub(self.look.status.now_unix_ms).max(1);
        let before: HashMap<_, _> = self.look.associations.iter().map(|one| (one.id, one.received_bytes)).collect();
        let rate = |one: &Association| {
            let received = one.received_bytes.saturating_sub(before.get(&one.id).copied().unwrap_or(0));
            received.saturating_mul(1000) / span_ms
        };
        self.rates = look.associations.iter().map(|one| (one.id, rate(one))).collect();
        self.past.extend(newer(&self.past, &look));
        let surplus = self.past.len().saturating_sub(PAST_SECONDS as usize);
        self.past.drain(..surplus);
        self.look = look;
    }

    pub(super) fn note(&mut self, what: String) {
        self.notice = what;
    }

    pub(super) fn rate(&self, association: &Association) -> u64 {
        self.rates.get(&association.id).copied().unwrap_or(0)
    }

    /// The associations, sorted.
    pub(super) fn sorted(&self) -> Vec<&Association> {
        let mut sorted: Vec<_> = self.look.associations.iter().collect();
        sorted.sort_by_key(|one| {
            let key = match self.sort {
                Sort::Held => one.held_bytes,
                Sort::Rate => self.rate(one),
                Sort::Received => one.received_bytes,
                Sort::Age => one.age_ms,
            };
            (Reverse(key), one.id)
        });
        sorted
    }

    /// The row of the selected association.
    pub(super) fn chosen_row(&self) -> Option<usize> {
        let chosen = self.chosen?;
        self.sorted().iter().position(|one| one.id == chosen)
    }

    fn choose(&mut self, step: isize) {
        let ids: Vec<_> = self.sorted().iter().map(|one| one.id).collect();
        let last = ids.len().saturating_sub(1);
        let row = match self.chosen_row() {
            Some(row) => row.saturating_add_signed(step).min(last),
            None if step < 0 => last,
            None => 0,
        };
        self.chosen = ids.get(row).copied();
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Doing {
        let interrupts = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        if let Some(id) = self.confirming.take() {
            return if matches!(key.code, KeyCode::Char('y' | 'Y')) { Doing::Abort(id) } else { Doing::Nothing };
        }
        match key.code {
            _ if interrupts => return Doing::Leave,
            KeyCode::Char('q') | KeyCode::Esc => return Doing::Leave,
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('a') => match self.chosen.filter(|_| self.chosen_row().is_some()) {
                Some(id) => self.confirming = Some(id),
                None => self.note("select an association with the arrow keys first".to_owned()),
            },
            _ => {}
        }
        Doing::Nothing
    }
}

/// The second that a look has added, if it is a new one.
fn newer(past: &[Second], look: &Look) -> Option<Second> {
    let second = look.status.last_second?;
    let last = past.last().map_or(0, |last| last.at_unix_ms);
    (second.at_unix_ms > last).then_some(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    fn view() -> View {
        let look = Look { status: sample::status(), associations: sample::associations(), writers: sample::writers() };
        View::new(vec![sample::second(1)], look)
    }

    fn press(view: &mut View, code: KeyCode) -> Doing {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn an_association_is_aborted_only_after_it_is_chosen_and_confirmed() {
        let mut view = view();
        assert_eq!(press(&mut view, KeyCode::Char('a')), Doing::Nothing);
        assert!(view.confirming.is_none() && view.notice.contains("select"));
        press(&mut view, KeyCode::Down);
        press(&mut view, KeyCode::Char('a'));
        assert_eq!(view.confirming, Some(7), "the one that holds most");
        assert_eq!(press(&mut view, KeyCode::Char('n')), Doing::Nothing);
        press(&mut view, KeyCode::Char('a'));
        assert_eq!(press(&mut view, KeyCode::Char('y')), Doing::Abort(7));
        assert_eq!(press(&mut view, KeyCode::Char('y')), Doing::Nothing, "once");
        assert_eq!(press(&mut view, KeyCode::Char('q')), Doing::Leave);
        assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Doing::Leave);
    }

    #[test]
    fn what_is_chosen_stays_chosen_when_the_order_changes() {
        let mut view = view();
        press(&mut view, KeyCode::Down);
        assert_eq!(view.chosen_row(), Some(0));
        press(&mut view, KeyCode::Char('s'));
        press(&mut view, KeyCode::Char('s'));
        assert_eq!((view.sort, view.chosen_row()), (Sort::Received, Some(1)));
        for _ in 0..9 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(view.chosen_row(), Some(2), "the last");
        press(&mut view, KeyCode::Up);
        assert_eq!(view.chosen_row(), Some(1));
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let mut view = view();
        let mut look = view.look.clone();
        look.status.now_unix_ms += 2000;
        look.associations[0].received_bytes += 4096;
        look.associations.remove(1);
        view.take(look);
        assert_eq!(view.rate(&view.look.associations[0]), 2048);
        assert_eq!(view.past.len(), 2);
    }
}
