//! A report that is due is given out: to an association that is open, or to a call, which begins on an association thread.

use std::time::Instant;

use actix::Actor;
use futures_util::FutureExt;
use tidegate_commitment::Request;

use super::actor::{CommitmentActor, LONGEST_SLEEP};
use super::caller::{Caller, CallerEnv, Order as CallOrder};
use super::routes::{Route, Way, route};
use super::shared::{Sending, Waiting};

impl CommitmentActor {
    /// Gives out a report, as far as there is a way.
    pub(super) fn dispatch(&mut self, request: &Request) {
        let live = self.shared.live.get();
        let way = route(request, &mut self.shared.waiting.lock(), &live.commitment);
        match way {
            Route::Later(after) => {
                self.look_at = self.look_at.min(Instant::now() + after.unwrap_or(LONGEST_SLEEP));
            }
            // What cannot be recorded is found again.
            Route::Nowhere => drop(self.note_nowhere(request)),
            Route::Now(Way::Line(association)) => {
                let ticket =
                    self.shared.ticket(request.id, &request.asked.transaction_uid, sending(request, Some(association)));
                let sender = {
                    let mut waiting = self.shared.waiting.lock();
                    waiting.lines.get_mut(&association).map(|line| {
                        line.is_ready = false;
                        line.reports.clone()
                    })
                };
                if let Some(sender) = sender {
                    let _ = sender.try_send(ticket); // one that is dropped is lost, and told so
                }
            }
            Route::Now(Way::Call(peer)) => {
                let mut sending = sending(request, None);
                sending.call = Some(super::routes::call_of(request, &peer));
                let ticket = self.shared.ticket(request.id, &request.asked.transaction_uid, sending);
                let (calling_as, is_doubtful) = (request.asked.called.clone(), !self.is_catalogue_current());
                self.calls.push_back(CallOrder { ticket, peer, calling_as, is_doubtful });
            }
        }
    }

    /// Starts the calls, each on an association thread. Those without one wait: at the start of the node, this child is there before the threads.
    pub(super) fn start_calls(&mut self) {
        while !self.calls.is_empty()
            && let Some((number, handle)) = self.threads.thread(self.next_thread).now_or_never()
            && let Some(order) = self.calls.pop_front()
        {
            self.next_thread = number + 1;
            let env = CallerEnv {
                live: self.shared.live.clone(),
                budget: self.budget.clone(),
                threads: self.threads.clone(),
                thread: number,
                phase: self.phase.clone(),
            };
            let caller = Caller::new(order, env, &self.gauges.counters);
            Caller::start_in_arbiter(&handle, move |_| caller);
        }
    }
}

fn sending(request: &Request, line: Option<u64>) -> Sending {
    Sending { line, question: None, ended: None, call: None, is_retry: request.attempts > 0, summary: None }
}

impl Waiting {
    /// Calls that are under way, and of them those after a failure.
    pub(super) fn calls(&self) -> (usize, usize) {
        let calls = || self.sending.values().filter(|sending| sending.call.is_some() && sending.ended.is_none());
        (calls().count(), calls().filter(|sending| sending.is_retry).count())
    }
}
