//! A group commit of syncs: one sync serves every thread that waits at that moment.

use crate::error::StoreError;
use crate::sync::{Condvar, Mutex, Patience};

/// The syncs of one object. A thread that arrives during a sync waits for the next one, together with all others that arrived meanwhile.
#[derive(Debug, Default)]
pub(crate) struct SharedSync {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    ended: u64,
    running: bool,
    /// The last failed sync. Linux reports a failure once, so every follower of that sync reads the error here.
    failed: Option<(u64, StoreError)>,
}

/// The sync that a leader runs. Dropping it releases the followers, after a panic as well.
struct Leader<'a> {
    shared: &'a SharedSync,
    number: u64,
    outcome: Result<(), StoreError>,
}

impl SharedSync {
    /// Returns once a sync has ended that began after this call: this thread's own or another's.
    pub(crate) fn run(&self, sync: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let (mut state, mut patience) = (self.state.lock(), Patience::new());
        let wanted = state.started + 1;
        while state.ended < wanted && state.running {
            // A leader that hangs must not block its followers.
            if !self.ended.wait(&mut state, &mut patience) {
                return Err(StoreError::Contended);
            }
        }
        if state.ended >= wanted {
            return match &state.failed {
                Some((failed, error)) if *failed >= wanted => Err(error.clone()),
                _ => Ok(()),
            };
        }
        state.started += 1;
        state.running = true;
        let mut leader = Leader { shared: self, number: state.started, outcome: Err(StoreError::Contended) };
        drop(state);
        leader.outcome = sync();
        leader.outcome.clone()
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.running = false;
        state.ended = self.number;
        if let Err(error) = &self.outcome {
            state.failed = Some((self.number, error.clone()));
        }
        drop(state);
        self.shared.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    /// Runs `follow` while another thread leads a sync, which then ends as `lead` does.
    fn while_one_leads(
        shared: &SharedSync,
        lead: impl FnOnce() -> Result<(), StoreError> + Send,
        follow: impl FnOnce(),
    ) {
        let (began, begins) = sync_channel(0);
        let (end, ends) = sync_channel::<()>(0);
        thread::scope(|scope| {
            let leader = scope.spawn(move || {
                shared.run(|| {
                    began.send(()).unwrap();
                    ends.recv().unwrap();
                    lead()
                })
            });
            begins.recv().unwrap();
            follow();
            end.send(()).unwrap();
            let _ = leader.join();
        });
    }

    #[test]
    fn threads_that_come_while_one_runs_share_the_next_and_its_failure() {
        let shared = SharedSync::default();
        let runs = AtomicU32::new(0);
        let waiting = thread::scope(|scope| {
            let mut waiting = Vec::new();
            while_one_leads(
                &shared,
                || Ok(()),
                || {
                    waiting.extend((0..4).map(|_| {
                        scope.spawn(|| {
                            shared.run(|| {
                                runs.fetch_add(1, Ordering::Relaxed);
                                Err(StoreError::ReadOnly)
                            })
                        })
                    }));
                },
            );
            waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(waiting.iter().all(|synced| matches!(synced, Err(StoreError::ReadOnly))), "{waiting:?}");
        assert!(runs.into_inner() <= 4);
        assert!(shared.run(|| Ok(())).is_ok(), "a failure is of those who waited for it");
    }

    #[test]
    fn a_leader_that_hangs_does_not_hang_its_followers_and_one_that_panics_ends() {
        let shared = SharedSync::default();
        while_one_leads(
            &shared,
            || panic!("on purpose"),
            || {
                assert!(matches!(shared.run(|| unreachable!()), Err(StoreError::Contended)));
            },
        );
        assert!(shared.run(|| Ok(())).is_ok(), "nothing runs any more");
    }
}
