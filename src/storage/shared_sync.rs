//! One sync for all who wait at that moment.

use parking_lot::{Condvar, Mutex};

use crate::error::StoreError;
use crate::instance::OTHER_HANDS_PATIENCE;

/// Syncs of one thing. Whoever comes while one runs waits for the next, together with all others who came meanwhile.
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
    /// The last one that failed. Linux tells of a failure once: all who relied on that sync must hear of it from here.
    failed: Option<(u64, StoreError)>,
}

impl SharedSync {
    /// Returns once a sync has ended that began after this call: this thread's own or another's.
    pub(crate) fn run(&self, sync: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let wanted = state.started + 1;
        while state.ended < wanted && state.running {
            // Whoever hangs in it must not take all others with him.
            if self.ended.wait_for(&mut state, OTHER_HANDS_PATIENCE).timed_out() && state.running {
                return Err(StoreError::InOtherHands);
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
        let mine = state.started;
        drop(state);
        let synced = sync();
        let mut state = self.state.lock();
        state.running = false;
        state.ended = mine;
        if let Err(error) = &synced {
            state.failed = Some((mine, error.clone()));
        }
        drop(state);
        self.ended.notify_all();
        synced
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;

    #[test]
    fn who_comes_while_one_runs_shares_the_next_and_its_failure() {
        let shared = SharedSync::default();
        let runs = AtomicU32::new(0);
        let (began, begins) = sync_channel(0);
        let (end, ends) = sync_channel::<()>(0);
        thread::scope(|scope| {
            let shared = &shared;
            let first = scope.spawn(move || {
                shared.run(|| {
                    began.send(()).unwrap();
                    ends.recv().unwrap();
                    Ok(())
                })
            });
            begins.recv().unwrap();
            let waiting: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        shared.run(|| {
                            runs.fetch_add(1, Ordering::Relaxed);
                            Err(StoreError::ReadOnly)
                        })
                    })
                })
                .collect();
            end.send(()).unwrap();
            assert!(first.join().unwrap().is_ok(), "its own sync was before theirs");
            for waiting in waiting {
                assert!(matches!(waiting.join().unwrap(), Err(StoreError::ReadOnly)));
            }
        });
        assert!(runs.into_inner() <= 4);
        assert!(shared.run(|| Ok(())).is_ok(), "a failure is of those who waited for it");
    }

    #[test]
    fn one_that_hangs_does_not_hold_the_others_for_ever() {
        let shared = SharedSync::default();
        let (began, begins) = sync_channel(0);
        let (end, ends) = sync_channel::<()>(0);
        thread::scope(|scope| {
            let shared = &shared;
            scope.spawn(move || {
                shared.run(|| {
                    began.send(()).unwrap();
                    ends.recv().unwrap();
                    Ok(())
                })
            });
            begins.recv().unwrap();
            assert!(matches!(shared.run(|| unreachable!()), Err(StoreError::InOtherHands)));
            end.send(()).unwrap();
        });
    }
}
