//! Readiness: the checks behind `/ready`, for load balancers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_actors::{ChildState, ChildStatus, Group, Observer, Phase};
use tidegate_memory::Level;
use tidegate_storage::{Inodes, StoreError};

use super::storage::{Sight, StorageWatch};
use crate::config::size_text;

/// This part of a reserve, an eighth, must be free above it. With a few KiB above it the node would be ready and refuse every image.
const MARGIN_DIVISOR: u64 = 8;

/// Seconds on end without memory for newcomers from which on the node is not ready.
const MAX_SHORT_S: u64 = 5;
/// Greatest age of a look at the disk.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The answer of `GET /ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Readiness {
    /// Whether every check passes.
    pub(crate) ready: bool,
    pub(crate) checks: Vec<Check>,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// `serving`, `listener`, `writers`, `associations`, `storage`, `space`, `inodes`, `memory` or `places`.
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// The finding, as text.
    pub(crate) detail: String,
}

impl Readiness {
    /// `patience`: how long the disk has for a fresh look.
    pub(super) async fn of(observer: &Observer, storage: &StorageWatch, patience: Duration) -> Self {
        let look = storage.look(MAX_AGE, patience).await;
        let children = observer.children();
        let [storage, space, inodes] = check_storage(look, observer.limits().min_free_bytes);
        let checks = vec![
            check_phase(observer.phase()),
            check_listener(&children),
            check_writers(&children),
            check_association_threads(&children),
            storage,
            space,
            inodes,
            check_memory(observer.pressure(), observer.memory_short_seconds()),
            check_places(observer.places_taken(), observer.limits().associations),
        ];
        Self { ready: checks.iter().all(|check| check.ok), checks }
    }

    /// The same without the findings, for clients that are not authenticated.
    pub(super) fn without_details(mut self) -> Self {
        self.checks.iter_mut().for_each(|check| check.detail.clear());
        self
    }
}

fn check(name: &str, ok: bool, detail: impl Into<String>) -> Check {
    Check { name: name.to_owned(), ok, detail: detail.into() }
}

fn check_phase(phase: Phase) -> Check {
    let (ok, detail) = match phase {
        Phase::Serving => (true, "associations are accepted"),
        Phase::Drained => (false, "the node was drained by an operator"),
        Phase::Draining | Phase::Aborting => (false, "the node is stopping"),
    };
    check("serving", ok, detail)
}

fn check_listener(children: &[ChildStatus]) -> Check {
    let state = children.iter().find(|child| child.group == Group::Listener).map(|child| child.state);
    let detail = state.map_or("not started", ChildState::name);
    check("listener", state == Some(ChildState::Running), detail)
}

/// One running writer is enough; the others are being restarted.
fn check_writers(children: &[ChildStatus]) -> Check {
    let writers = || children.iter().filter(|child| child.group == Group::Writers);
    let running = writers().filter(|child| child.state == ChildState::Running).count();
    check("writers", running > 0, format!("{running} of {} are running", writers().count()))
}

/// One association thread is enough; a thread that hangs is replaced, and the others serve meanwhile.
fn check_association_threads(children: &[ChildStatus]) -> Check {
    let threads = || children.iter().filter(|child| child.group == Group::AssociationThreads);
    let running = threads().filter(|child| child.state == ChildState::Running).count();
    check("associations", running > 0, format!("{running} of {} threads are running", threads().count()))
}

fn check_storage(sight: Sight, min_free_bytes: u64) -> [Check; 3] {
    let Sight { last, unanswered } = sight;
    let Some((age, look)) = last else {
        let detail = unanswered.map_or_else(|| "the first look is under way".to_owned(), no_answer);
        let check = |name| check(name, unanswered.is_none(), &detail);
        return ["storage", "space", "inodes"].map(check);
    };
    let storage = match (unanswered, look.written) {
        (Some(time), Ok(())) => {
            let detail = format!("{}; {} s ago a file could be written", no_answer(time), age.as_secs());
            check("storage", false, detail)
        }
        (Some(time), Err(error)) => {
            check("storage", false, format!("{}; {} s ago: {error}", no_answer(time), age.as_secs()))
        }
        (None, Ok(())) => check("storage", true, "a file can be written"),
        (None, Err(error)) => check("storage", false, error.to_string()),
    };
    let space = match look.space {
        Ok(space) => {
            let threshold = with_margin(min_free_bytes);
            let is_enough = space.free_bytes > threshold;
            let remedy = if is_enough { "" } else { ": make room, or lower the key" };
            let ([free, threshold], key) = ([space.free_bytes, threshold].map(mib), size_text(min_free_bytes));
            let detail =
                format!("{free} free, ready above {threshold} (storage.min_free = {key} and an eighth of it){remedy}");
            check("space", is_enough, detail)
        }
        Err(ref error) => check("space", false, error.to_string()),
    };
    [storage, space, check_inodes(look.space.map(|space| space.inodes))]
}

fn check_inodes(inodes: Result<Option<Inodes>, StoreError>) -> Check {
    match inodes {
        Ok(Some(inodes)) => {
            let threshold = with_margin(inodes.reserved());
            let is_enough = inodes.free > threshold;
            let remedy = if is_enough { "" } else { ": remove files" };
            let (free, reserved) = (inodes.free, inodes.reserved());
            let detail =
                format!("{free} free, ready above {threshold} ({reserved} reserved and an eighth of it){remedy}");
            check("inodes", is_enough, detail)
        }
        Ok(None) => check("inodes", true, "the filesystem has no fixed number of them"),
        Err(error) => check("inodes", false, error.to_string()),
    }
}

/// What is reserved, with the margin.
pub(super) fn with_margin(reserved: u64) -> u64 {
    reserved.saturating_add(reserved / MARGIN_DIVISOR)
}

fn no_answer(time: Duration) -> String {
    format!("the disk has not answered for {} ms", time.as_millis())
}

fn mib(bytes: u64) -> String {
    size_text(bytes >> 20 << 20)
}

fn check_memory(pressure: Level, short_s: u64) -> Check {
    if short_s >= MAX_SHORT_S {
        let detail = format!("memory.budget has had no room for new associations for {short_s} s");
        return check("memory", false, detail);
    }
    check("memory", pressure < Level::PauseAccept, format!("pressure is {pressure}"))
}

fn check_places(taken: usize, max: usize) -> Check {
    check("places", taken < max, format!("{taken} of {max} associations are open (associations.max)"))
}

#[cfg(test)]
mod tests {
    use tidegate_actors::StorageLook;
    use tidegate_storage::Space;

    use super::*;

    fn child(group: Group, state: ChildState) -> ChildStatus {
        let name = String::new();
        ChildStatus { name, group, state, uptime_ms: 0, quiet_ms: 0, restarts: 0, last_exit: None }
    }

    #[test]
    fn one_writer_that_runs_is_enough_and_none_is_not() {
        let writers = |states: &[ChildState]| {
            let children: Vec<_> = states.iter().map(|state| child(Group::Writers, *state)).collect();
            check_writers(&children)
        };
        assert_eq!(
            writers(&[ChildState::Restarting, ChildState::Running]),
            check("writers", true, "1 of 2 are running")
        );
        assert!(!writers(&[ChildState::Restarting, ChildState::Down]).ok);
        assert!(!writers(&[]).ok);
    }

    #[test]
    fn without_an_association_thread_nobody_is_served() {
        let threads = |states: &[ChildState]| {
            let children: Vec<_> = states.iter().map(|state| child(Group::AssociationThreads, *state)).collect();
            check_association_threads(&children).ok
        };
        assert!(threads(&[ChildState::Restarting, ChildState::Running]));
        assert!(!threads(&[ChildState::Restarting, ChildState::Restarting]));
        assert!(!threads(&[]));
    }

    #[test]
    fn a_listener_must_run() {
        assert!(!check_listener(&[child(Group::Writers, ChildState::Running)]).ok);
        assert!(!check_listener(&[child(Group::Listener, ChildState::Restarting)]).ok);
        assert!(check_listener(&[child(Group::Listener, ChildState::Running)]).ok);
    }

    #[test]
    fn a_disk_that_fails_is_told_from_one_that_is_full_and_one_that_hangs() {
        let space = |free_bytes| Ok(Space { free_bytes, size_bytes: 10 << 30, inodes: None });
        let sight = |space, written, unanswered| {
            let look = StorageLook { space, written, set_aside: Ok(0) };
            Sight { last: Some((Duration::from_secs(15), look)), unanswered }
        };
        let of = |space, written| check_storage(sight(space, written, None), 1 << 30);
        let [storage, free, _] = of(space(5 << 30), Ok(()));
        assert!(storage.ok && free.ok);
        assert_eq!(free.detail, "5 GiB free, ready above 1152 MiB (storage.min_free = 1 GiB and an eighth of it)");
        let [storage, free, _] = of(space(1 << 30), Ok(()));
        assert!(storage.ok && !free.ok, "the last byte above the reserve is gone");
        let detail = "1 GiB free, ready above 1152 MiB (storage.min_free = 1 GiB and an eighth of it): make room, or lower the key";
        assert_eq!(free.detail, detail);
        assert!(!of(space((1 << 30) + (40 << 10)), Ok(()))[1].ok, "an instance of 512 KiB is refused");
        assert!(of(space((1 << 30) + (129 << 20)), Ok(()))[1].ok);
        let [storage, free, _] = of(space(5 << 30), Err(StoreError::ReadOnly));
        assert!(!storage.ok && free.ok);
        assert_eq!(storage.detail, "the filesystem is read-only");
        let [storage, free, _] = check_storage(sight(space(5 << 30), Ok(()), Some(Duration::from_secs(9))), 1 << 30);
        assert!(!storage.ok && free.ok, "its space is that of the last look");
        assert_eq!(storage.detail, "the disk has not answered for 9000 ms; 15 s ago a file could be written");
        let [storage, free, _] = check_storage(Sight { last: None, unanswered: None }, 1 << 30);
        assert!(storage.ok && free.ok, "a node that has just opened its storage");
    }

    #[test]
    fn a_filesystem_without_inodes_above_the_reserve_is_not_ready_and_one_that_counts_none_is() {
        let of = |free| check_inodes(Ok(Some(Inodes { free, total: 800 })));
        assert_eq!(of(700), check("inodes", true, "700 free, ready above 112 (100 reserved and an eighth of it)"));
        assert!(!of(100).ok && !of(112).ok && of(113).ok);
        assert!(check_inodes(Ok(None)).ok);
        assert!(!check_inodes(Err(StoreError::ReadOnly)).ok);
    }

    #[test]
    fn memory_pressure_counts_from_where_no_connection_is_accepted() {
        assert!(check_memory(Level::Spool, MAX_SHORT_S - 1).ok);
        assert!(!check_memory(Level::PauseAccept, 0).ok);
        let short = check_memory(Level::Normal, MAX_SHORT_S);
        assert!(!short.ok && short.detail.contains("memory.budget"), "{short:?}");
    }

    #[test]
    fn a_node_without_a_place_is_not_ready_and_names_the_limit() {
        assert!(check_places(511, 512).ok);
        let full = check_places(512, 512);
        assert_eq!((full.ok, full.detail.as_str()), (false, "512 of 512 associations are open (associations.max)"));
    }
}
