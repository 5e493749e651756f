//! The tree under paused time, with scripted children.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, advance};

use super::exit::Exit;
use super::limits::{REST, RestartLimit, SupervisionSettings};
use super::liveness::{Busy, HeldWork, Liveness};
use super::spec::{ChildSpec, Group, Restart};
use super::tree::{Failure, Look, Next, Tree};

const LIMITS: SupervisionSettings = SupervisionSettings {
    hang_timeout: Duration::from_secs(30),
    restarts: RestartLimit { max: 3, window: Duration::from_secs(60) },
    max_hung_threads: 2,
};

/// The liveness of a child, one for each start, and the number of releases.
#[derive(Clone, Default)]
struct Puppet(Arc<Mutex<Strings>>);

#[derive(Default)]
struct Strings {
    children: Vec<Liveness>,
    starts: usize,
    releases: usize,
    refuse: bool,
}

impl Puppet {
    fn spec(&self, name: &str, group: Group, restart: Restart) -> ChildSpec {
        let (starts, releases) = (self.0.clone(), self.0.clone());
        ChildSpec {
            name: name.to_owned(),
            group,
            restart,
            shutdown_grace: Duration::from_secs(5),
            start: Box::new(move |child| {
                let mut strings = starts.lock();
                strings.starts += 1;
                if strings.refuse {
                    return Err(io::Error::other("no threads left"));
                }
                child.ready();
                strings.children.push(child);
                Ok(None)
            }),
            release: Box::new(move || {
                releases.lock().releases += 1;
                HeldWork { count: 1, ..HeldWork::default() }
            }),
        }
    }

    fn starts(&self) -> usize {
        self.0.lock().starts
    }

    fn child(&self) -> Liveness {
        self.0.lock().children.pop().unwrap()
    }

    /// Ends the child by a panic.
    fn panic(&self) {
        let child = self.child();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _child = child;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
    }
}

fn look(tree: &mut Tree) -> Look {
    tree.look(Instant::now(), &LIMITS)
}

fn one(group: Group, restart: Restart) -> (Puppet, Tree) {
    let puppet = Puppet::default();
    let mut tree = Tree::new(vec![puppet.spec("child", group, restart)], Arc::default());
    // One look for each group: the children of one are ready before the next is started.
    for _ in Group::ALL {
        assert!(look(&mut tree).ended.is_empty());
    }
    assert!(tree.is_up());
    (puppet, tree)
}

#[tokio::test(start_paused = true)]
async fn a_panicked_child_is_restarted_at_once_and_what_it_held_is_told() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    advance(Duration::from_secs(20)).await;
    puppet.panic();
    let ended = look(&mut tree).ended;
    let [ended] = &ended[..] else { panic!("{ended:?}") };
    assert!(matches!(ended.exit, Exit::Panicked(_)));
    assert_eq!(
        (ended.next, ended.held.count, ended.lived),
        (Next::Restart(Duration::ZERO), 1, Duration::from_secs(20))
    );
    assert_eq!((puppet.starts(), tree.restarts()), (2, 1), "within the same look");
}

#[tokio::test(start_paused = true)]
async fn the_next_restarts_wait_longer_each_time() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    for (restart, delay_ms) in [(1, 0), (2, 100), (3, 200)] {
        puppet.panic();
        let ended = look(&mut tree).ended;
        assert_eq!(ended[0].next, Next::Restart(Duration::from_millis(delay_ms)));
        if delay_ms > 0 {
            advance(Duration::from_millis(delay_ms - 1)).await;
            look(&mut tree);
            assert_eq!(puppet.starts(), restart, "a millisecond too early");
            advance(Duration::from_millis(1)).await;
            look(&mut tree);
        }
        assert_eq!(puppet.starts(), restart + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_restart_too_many_brings_the_node_down_and_is_told_once() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    for _ in 0..3 {
        puppet.panic();
        assert_eq!(look(&mut tree).failure, None);
        advance(Duration::from_secs(6)).await;
        look(&mut tree);
    }
    puppet.panic();
    let last = look(&mut tree);
    assert_eq!(last.ended[0].next, Next::NodeGoesDown);
    let Some(Failure::TooManyRestarts { child, exit: Exit::Panicked(_), max: 3, .. }) = last.failure else {
        panic!("{last:?}")
    };
    assert_eq!(child, "child");
    advance(Duration::from_secs(600)).await;
    let after = look(&mut tree);
    assert!(after.failure.is_none() && after.ended.is_empty());
    assert_eq!(puppet.starts(), 4, "nothing is started any more");
}

#[tokio::test(start_paused = true)]
async fn the_same_number_of_restarts_spread_over_time_is_no_reason() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    for _ in 0..50 {
        puppet.panic();
        assert_eq!(look(&mut tree).failure, None);
        advance(Duration::from_secs(21)).await;
        look(&mut tree);
    }
    assert_eq!(puppet.starts(), 51);
}

#[tokio::test(start_paused = true)]
async fn siblings_share_the_limit_and_other_groups_do_not() {
    let (first, second, other) = (Puppet::default(), Puppet::default(), Puppet::default());
    let specs = vec![
        first.spec("writer-0", Group::Writers, Restart::Permanent),
        second.spec("writer-1", Group::Writers, Restart::Permanent),
        other.spec("listener", Group::Listener, Restart::Permanent),
    ];
    let mut tree = Tree::new(specs, Arc::default());
    for _ in Group::ALL {
        look(&mut tree);
    }
    for puppet in [&first, &other, &second, &other, &first, &other] {
        puppet.panic();
        assert_eq!(look(&mut tree).failure, None);
        advance(Duration::from_secs(1)).await;
        look(&mut tree);
    }
    second.panic();
    assert!(matches!(look(&mut tree).failure, Some(Failure::TooManyRestarts { child, .. }) if child == "writer-1"));
}

#[tokio::test(start_paused = true)]
async fn operators_surfaces_are_given_up_without_the_node() {
    let (puppet, mut tree) = one(Group::Admin, Restart::Permanent);
    for _ in 0..3 {
        puppet.panic();
        look(&mut tree);
        advance(Duration::from_secs(1)).await;
        look(&mut tree);
    }
    puppet.panic();
    let last = look(&mut tree);
    assert_eq!((last.ended[0].next, last.failure), (Next::GroupGivenUp, None));
    assert!(tree.is_down(Group::Admin));
}

#[tokio::test(start_paused = true)]
async fn the_restart_policy_decides_about_ends_that_are_normal() {
    for (restart, unasked, panicked) in
        [(Restart::Permanent, 2, 2), (Restart::Transient, 1, 2), (Restart::Temporary, 1, 1)]
    {
        let (puppet, mut tree) = one(Group::Writers, restart);
        puppet.child().finish();
        look(&mut tree);
        assert_eq!(puppet.starts(), unasked, "{restart:?}");
        let (puppet, mut tree) = one(Group::Writers, restart);
        puppet.panic();
        look(&mut tree);
        assert_eq!(puppet.starts(), panicked, "{restart:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_work_without_progress_is_a_hang_and_its_late_end_is_no_second_one() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    advance(Duration::from_secs(3600)).await;
    assert!(look(&mut tree).ended.is_empty(), "idle is not hung");

    let child = puppet.child();
    let busy = child.busy();
    for _ in 0..10 {
        child.progress();
        look(&mut tree);
        advance(LIMITS.hang_timeout - Duration::from_millis(1)).await;
        assert!(look(&mut tree).ended.is_empty(), "slow is not hung");
    }
    advance(Duration::from_millis(1)).await;
    let ended = look(&mut tree).ended;
    assert_eq!(ended[0].exit, Exit::Hung { quiet_for: LIMITS.hang_timeout });
    assert!(child.is_fenced());
    assert_eq!((tree.hung_threads(), puppet.starts()), (1, 2));

    drop::<Busy<'_>>(busy);
    child.finish();
    drop(child);
    assert!(look(&mut tree).ended.is_empty());
    assert_eq!((tree.hung_threads(), puppet.starts()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn more_hung_threads_than_allowed_bring_the_node_down() {
    let (puppet, mut tree) = one(Group::AssociationThreads, Restart::Permanent);
    let limits = SupervisionSettings { restarts: RestartLimit { max: 100, window: Duration::from_secs(60) }, ..LIMITS };
    let mut hung = Vec::new();
    for count in 1..=3 {
        let child = puppet.child();
        std::mem::forget(child.busy());
        hung.push(child);
        tree.look(Instant::now(), &limits);
        advance(limits.hang_timeout).await;
        let look = tree.look(Instant::now(), &limits);
        assert_eq!(look.ended.len(), 1);
        assert_eq!(look.failure.is_some(), count == 3, "{look:?}");
        advance(Duration::from_secs(5)).await;
        tree.look(Instant::now(), &limits);
    }
    assert_eq!(tree.hung_threads(), 3);
}

#[tokio::test(start_paused = true)]
async fn groups_start_in_order_each_when_the_one_before_is_ready() {
    let names = ["statistics", "writer-0", "associations-0", "listener", "admin"];
    let started: Arc<Mutex<Vec<(&str, Liveness)>>> = Arc::default();
    let specs = Group::ALL.into_iter().zip(names).rev().map(|(group, name)| {
        let started = started.clone();
        ChildSpec {
            start: Box::new(move |child| {
                started.lock().push((name, child));
                Ok(None)
            }),
            ..Puppet::default().spec(name, group, Restart::Permanent)
        }
    });
    let mut tree = Tree::new(specs.collect(), Arc::default());
    for count in 1..=names.len() {
        look(&mut tree);
        look(&mut tree);
        assert_eq!(started.lock().iter().map(|(name, _)| *name).collect::<Vec<_>>(), names[..count]);
        assert!(!tree.is_up());
        started.lock()[count - 1].1.ready();
    }
    look(&mut tree);
    assert!(tree.is_up());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_gets_ready_hangs() {
    let kept: Arc<Mutex<Vec<Liveness>>> = Arc::default();
    let keep = kept.clone();
    let spec = ChildSpec {
        start: Box::new(move |child| {
            keep.lock().push(child);
            Ok(None)
        }),
        ..Puppet::default().spec("child", Group::Statistics, Restart::Permanent)
    };
    let mut tree = Tree::new(vec![spec], Arc::default());
    look(&mut tree);
    advance(Duration::from_secs(10)).await;
    assert!(matches!(look(&mut tree).ended[..], [super::tree::Ended { exit: Exit::Hung { .. }, .. }]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_cannot_be_started_is_tried_again() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    puppet.0.lock().refuse = true;
    puppet.panic();
    let ended = look(&mut tree).ended;
    assert!(matches!(&ended[1].exit, Exit::NotStarted { why } if why == "no threads left"), "{ended:?}");
    puppet.0.lock().refuse = false;
    advance(Duration::from_millis(100)).await;
    look(&mut tree);
    assert_eq!(puppet.0.lock().children.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_asked_to_stop_has_its_grace_and_is_given_up_after_it() {
    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    tree.stop(Group::Writers, Instant::now());
    look(&mut tree);
    assert!(!tree.is_down(Group::Writers));
    puppet.child().finish();
    assert!(look(&mut tree).ended.is_empty());
    assert!(tree.is_down(Group::Writers));

    let (puppet, mut tree) = one(Group::Writers, Restart::Permanent);
    tree.stop(Group::Writers, Instant::now());
    advance(Duration::from_secs(5)).await;
    let ended = look(&mut tree).ended;
    assert_eq!((ended.len(), ended[0].next, puppet.starts()), (1, Next::Nothing, 1));
    assert!(tree.is_down(Group::Writers));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_has_died_too_often_is_started_again_after_a_rest() {
    let puppet = Puppet::default();
    let name = ["sink-a".to_owned()];
    let spec = |name: &str| puppet.spec(name, Group::Delivery, Restart::Transient);
    let mut tree = Tree::new(Vec::new(), Arc::default());
    look(&mut tree);
    tree.keep(Group::Delivery, &name, spec, Instant::now());
    look(&mut tree);
    for _ in 0..4 {
        puppet.panic();
        look(&mut tree);
        advance(Duration::from_secs(1)).await;
        look(&mut tree);
    }
    assert_eq!(puppet.starts(), 4);
    advance(REST - Duration::from_secs(2)).await;
    look(&mut tree);
    assert_eq!(puppet.starts(), 4);
    advance(Duration::from_secs(2)).await;
    look(&mut tree);
    assert_eq!(puppet.starts(), 5);
}

#[tokio::test(start_paused = true)]
async fn children_come_and_go_with_the_settings_and_each_has_a_limit_of_its_own() {
    let puppets: [Puppet; 3] = Default::default();
    let names = ["delivery-a", "delivery-b", "delivery-c"].map(str::to_owned);
    let spec = |name: &str| {
        let at = names.iter().position(|other| other == name).unwrap();
        puppets[at].spec(name, Group::Delivery, Restart::Transient)
    };
    let starts = || puppets.each_ref().map(Puppet::starts);
    let mut tree = Tree::new(Vec::new(), Arc::default());
    tree.keep(Group::Delivery, &names[..1], spec, Instant::now());
    look(&mut tree);
    assert_eq!(starts(), [0; 3], "the group had not started");
    tree.keep(Group::Delivery, &names[..2], spec, Instant::now());
    look(&mut tree);
    assert_eq!(starts(), [1, 1, 0]);

    // One that dies again and again rests for five minutes. The other has restarts of its own.
    for _ in 0..3 {
        puppets[0].panic();
        assert!(matches!(look(&mut tree).ended[0].next, Next::Restart(_)));
        advance(Duration::from_secs(1)).await;
        look(&mut tree);
    }
    puppets[0].panic();
    let last = look(&mut tree);
    assert_eq!((last.ended[0].next, last.failure), (Next::Rest, None));
    puppets[1].panic();
    assert!(matches!(look(&mut tree).ended[0].next, Next::Restart(_)));

    // One goes, another comes, and the first of them returns before it is down.
    tree.keep(Group::Delivery, &names[2..], spec, Instant::now());
    look(&mut tree);
    assert_eq!(starts(), [4, 2, 1]);
    assert_eq!(tree.children(Instant::now()).len(), 2, "the one that rests is gone, the other is stopping");
    tree.keep(Group::Delivery, &names[1..], spec, Instant::now());
    look(&mut tree);
    assert_eq!(starts(), [4, 2, 1], "not two of one name");
    let child = puppets[1].child();
    child.finish();
    drop(child);
    for _ in 0..2 {
        assert!(look(&mut tree).ended.is_empty());
        tree.keep(Group::Delivery, &names[1..], spec, Instant::now());
    }
    look(&mut tree);
    assert_eq!(starts(), [4, 3, 1]);

    // A group that is stopped has no children any more.
    tree.stop(Group::Delivery, Instant::now());
    tree.keep(Group::Delivery, &names, spec, Instant::now());
    for puppet in &puppets[1..] {
        puppet.child().finish();
    }
    look(&mut tree);
    assert!(tree.is_down(Group::Delivery));
}
