//! The child that owns the record of requests: it makes them durable, evaluates them, and gives out their reports. It sleeps until something is
//! there for it.
//!
//! A call of the file blocks this thread, as long as its disk does, and so does reading a stored file. So the child has no heartbeat, as the
//! catalogue has none.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_commitment::{PackedUid, Requests, Sent, State, Summary};
use tidegate_memory::MemoryBudget;
use tidegate_storage::Store;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::caller::Order as CallOrder;
use super::files::{Files, IsMeasured};
use super::probing::Probing;
use super::record::Record;
use super::routes::{Route, route};
use super::shared::{Question, Shared};
use super::state::{NO_WAY, WAITS_FOR};
use super::tasks::{Lately, Task, Tasks};
use super::telling::{self, Telling};
use crate::catalogue;
use crate::catalogue::deliveries::Deliveries;
use crate::committed::clock_ms;
use crate::fault;
use crate::gauges::Gauges;
use crate::mailbox::WriterMailbox;
use crate::node::phase::Phase;
use crate::node::settings::{CommitmentSettings, LiveSettings};
use crate::supervision::liveness::Liveness;
use crate::supervision::threads::AssociationThreads;

/// Requests that are looked at in a turn.
const TURN: usize = 16;
/// The longest sleep: the clock may be set.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// After so long without work, memory is given back.
const REST: Duration = Duration::from_secs(1);
/// Between two looks for requests that are kept no longer.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// What the child uses of the node.
pub(crate) struct Env {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
    pub(crate) catalogue: Arc<catalogue::Shared>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) budget: MemoryBudget,
    pub(crate) threads: Arc<AssociationThreads>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) is_measured: IsMeasured,
}

/// A peer that a call has not reached. What it asked before that is no reason to call it earlier, also if that is evaluated only now.
pub(super) struct Away {
    pub(super) failed_ms: i64,
    /// When it is called again.
    pub(super) until_ms: i64,
}

/// The child.
pub(crate) struct CommitmentActor {
    pub(super) shared: Arc<Shared>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) record: Record,
    pub(super) tasks: Tasks,
    pub(super) files: Files,
    pub(super) catalogue: Arc<catalogue::Shared>,
    pub(super) mailbox: Arc<WriterMailbox>,
    pub(super) budget: MemoryBudget,
    pub(super) threads: Arc<AssociationThreads>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) settings: watch::Receiver<Arc<LiveSettings>>,
    /// As they were when requests were last made due for them.
    pub(super) peers: Option<Arc<CommitmentSettings>>,
    /// When requests that were due lately were first seen, by a clock that nobody sets.
    pub(super) seen: HashMap<i64, Lately>,
    /// Outcomes that were concluded lately.
    pub(super) concluded: HashMap<i64, (Instant, Summary)>,
    /// Pending requests of which an attempt has failed, and those without a way, as far as this process knows.
    pub(super) retrying: HashSet<i64>,
    pub(super) nowhere: HashSet<i64>,
    /// Peers that could not be reached.
    pub(super) probing: Probing,
    /// By AE title: peers that a call has not reached.
    pub(super) away: HashMap<String, Away>,
    /// Second looks before reports, when what is on its way through a writer is in the catalogue, and when that is.
    pub(super) held: VecDeque<(Instant, Task)>,
    /// Requests that wait for a destination, each with an instance that it has yet to get; when they are looked at next, from which on, and how many.
    pub(super) awaited: BTreeMap<i64, (PackedUid, String)>,
    pub(super) awaited_at: Instant,
    pub(super) awaited_from: i64,
    pub(super) awaited_left: usize,
    /// Since when requests are reported that are no events yet.
    pub(super) untold_ms: Option<i64>,
    /// Ticks when deliveries change.
    pub(super) deliveries: watch::Receiver<u64>,
    /// Calls that wait for an association thread.
    pub(super) calls: VecDeque<CallOrder>,
    pub(super) next_thread: usize,
    /// When requests are looked at next.
    pub(super) look_at: Instant,
    prune_at: Instant,
    pub(super) worked_at: Instant,
    /// Dropped last.
    liveness: Liveness,
}

impl CommitmentActor {
    pub(crate) fn new(env: Env, liveness: Liveness) -> Self {
        let Env { shared, store, catalogue, mailbox, gauges, budget, threads, phase, is_measured } = env;
        let now = Instant::now();
        let settings = shared.live.watch();
        Self {
            peers: None,
            settings,
            record: Record::new(shared.clone()),
            tasks: Tasks::default(),
            files: Files::new(store, catalogue.settings.path.clone(), budget.clone(), is_measured),
            shared,
            gauges,
            mailbox,
            budget,
            threads,
            phase,
            seen: HashMap::new(),
            concluded: HashMap::new(),
            retrying: HashSet::new(),
            nowhere: HashSet::new(),
            awaited: BTreeMap::new(),
            awaited_at: now,
            awaited_from: 0,
            awaited_left: 0,
            untold_ms: None,
            deliveries: catalogue.deliveries_changed(),
            probing: Probing::default(),
            away: HashMap::new(),
            held: VecDeque::new(),
            catalogue,
            calls: VecDeque::new(),
            next_thread: 0,
            look_at: now,
            prune_at: now + PRUNE_INTERVAL,
            worked_at: now,
            liveness,
        }
    }

    pub(crate) async fn run(mut self) {
        self.liveness.ready();
        let mut telling = Telling::new(Deliveries::new(self.catalogue.clone(), self.budget.clone()));
        loop {
            self.turn();
            self.start_calls();
            telling.begin(&mut self.record, self.untold_ms.take());
            tokio::select! {
                biased;
                () = self.liveness.stop_requested() => break,
                () = self.until_due() => {}
                () = telling.step() => {}
            }
            fault::point("commitment");
            tokio::task::yield_now().await;
        }
        self.turn(); // the reports that have ended
        self.liveness.finish();
    }

    /// Learns from the record what a process before this one knew.
    fn recall(&mut self) {
        let (mut retrying, mut nowhere, mut waiting) = (HashSet::new(), HashSet::new(), Vec::new());
        let read = self.record.attempt(|requests| {
            requests.each_pending(|request| {
                if request.state == State::Received && request.last_comment.starts_with(WAITS_FOR) {
                    waiting.push(request.id);
                }
                if request.last_comment == NO_WAY {
                    nowhere.insert(request.id);
                }
                if request.attempts > 0 {
                    retrying.insert(request.id);
                }
            })?;
            requests.has_refusals()
        });
        self.untold_ms = [self.untold_ms, telling::recalled(&mut self.record)].into_iter().flatten().min();
        if let Some(has_refusals) = read {
            (self.retrying, self.nowhere) = (retrying, nowhere);
            // What has arrived meanwhile, nobody tells.
            for id in waiting {
                self.record.attempt(|requests| requests.retry_wait(id, clock_ms()));
            }
            // One may have come meanwhile.
            let waiting = self.shared.waiting.lock();
            let has_refusals = has_refusals || waiting.sent.has_refused();
            self.shared.has_refusals.store(has_refusals, Ordering::Relaxed);
        }
    }

    async fn until_due(&self) {
        if !self.tasks.is_empty() {
            return;
        }
        let mut at = self.look_at.min(self.prune_at);
        let probe_at = self.probing.due_at().filter(|_| self.may_call()); // others do not begin
        at = at.min(probe_at.unwrap_or(at)).min(self.held.front().map_or(at, |(held_at, _)| *held_at));
        if let Some(retry_at) = self.record.retry_at() {
            at = if self.record.is_open() { at.min(retry_at) } else { retry_at };
        }
        if self.files.are_open() {
            at = at.min(self.worked_at + REST);
        }
        let mut settings = self.settings.clone(); // which have been seen, in a turn
        let mut deliveries = self.deliveries.clone();
        let mut phase = self.phase.clone();
        let waits = !self.awaited.is_empty();
        let awaited_at = self.awaited_at;
        let has_more = self.awaited_left > 0;
        let changed = async {
            sleep_until(awaited_at.into()).await;
            if !has_more {
                let _ = deliveries.changed().await; // its sender lives as long as the node
            }
        };
        tokio::select! {
            () = changed, if waits => {}
            () = sleep_until(at.into()) => {}
            () = self.shared.woken() => {}
            Ok(()) = settings.changed() => {}
            Ok(()) = phase.changed() => {}
            _ = self.threads.thread(self.next_thread), if !self.calls.is_empty() => {}
        }
    }

    fn turn(&mut self) {
        let works_again = self.record.open_if_due();
        if works_again {
            self.recall();
        }
        let has_news = std::mem::take(&mut self.shared.waiting.lock().has_news) | works_again;
        // A node that serves again may send what it has kept.
        let has_news = has_news | self.phase.has_changed().unwrap_or(false);
        self.phase.mark_unchanged();
        let has_changed = has_news | self.accept() | self.carry_out() | self.end_reports() | self.greet();
        let has_changed = has_changed | self.adopt_peers() | self.probe();
        self.look_at_awaited();
        while self.held.front().is_some_and(|(at, _)| *at <= Instant::now())
            && let Some((_, task)) = self.held.pop_front()
        {
            self.tasks.push(task);
        }
        self.answer_questions();
        if !self.tasks.is_empty() {
            self.worked_at = Instant::now();
            self.step();
        }
        let now = Instant::now();
        if has_changed || now >= self.look_at {
            self.look();
            self.note_figures();
        }
        if now >= self.prune_at {
            let prune =
                |requests: &mut Requests| Ok(requests.prune(clock_ms())? | requests.prune_refusals(clock_ms())?);
            let has_more = self.record.attempt(prune).unwrap_or(false);
            self.prune_at = now + if has_more { Duration::from_millis(50) } else { PRUNE_INTERVAL };
        }
        if self.tasks.is_empty() && self.files.are_open() && self.worked_at.elapsed() >= REST {
            self.files.close();
        }
        if self.tasks.is_empty() && !self.files.are_open() {
            self.record.rest();
        }
    }

    /// Makes the requests durable that wait for it. Whether there were any.
    fn accept(&mut self) -> bool {
        let (sent, submissions) = {
            let mut waiting = self.shared.waiting.lock();
            (waiting.sent.take(), std::mem::take(&mut waiting.submissions))
        };
        self.note_sent(sent);
        let are_there = !submissions.is_empty();
        for submission in submissions {
            if submission.reply.is_closed() {
                continue; // whoever asked has waited for too long, and was told so
            }
            let recorded = self.record.accept(&submission);
            if let Ok(id) = recorded {
                self.shared.figures.received.increment();
                self.seen.insert(id, Lately::default());
                self.tasks.push(Task::first(id, self.terms()));
            }
            let shared = &self.shared;
            let _ = submission.reply.send(recorded.map(|id| shared.recorded(id))); // whoever asked may have left
        }
        are_there
    }

    /// Notes how instances were sent. A request that comes after them is evaluated by that.
    fn note_sent(&mut self, sent: Vec<Sent>) {
        if !sent.is_empty() && self.record.attempt(|requests| requests.note_sent(&sent, clock_ms())).is_none() {
            self.shared.waiting.lock().sent.put_back(sent);
        }
    }

    /// Does what operators want. Whether there was anything.
    fn carry_out(&mut self) -> bool {
        let orders = std::mem::take(&mut self.shared.waiting.lock().orders);
        let are_there = !orders.is_empty();
        if are_there {
            self.away.clear();
        }
        for order in orders.into_iter().filter(|order| !order.reply.is_closed()) {
            self.forget(order.request);
            let retried = self.record.attempt(|requests| requests.retry(order.request, clock_ms()));
            let retried = retried.ok_or_else(|| "the record of commitment requests cannot be used".to_owned());
            let _ = order.reply.send(retried);
        }
        are_there
    }

    /// Answers the senders of reports.
    fn answer_questions(&mut self) {
        let questions: Vec<(i64, Question)> = {
            let mut waiting = self.shared.waiting.lock();
            let questions = waiting.sending.iter_mut();
            questions.filter_map(|(id, sending)| Some((*id, sending.question.take()?))).collect()
        };
        for (id, question) in questions {
            match question {
                Question::Begin(reply) => self.begin(id, reply),
                Question::Chunk(from, reply) => {
                    let chunk = self.record.attempt(|requests| requests.references(id, from, super::report::CHUNK));
                    if let Some(chunk) = chunk {
                        let _ = reply.send(chunk);
                    }
                }
            }
        }
    }

    /// Looks for requests that are due.
    fn look(&mut self) {
        self.look_at = Instant::now() + LONGEST_SLEEP;
        // What cannot be recorded would be evaluated, and reported, again and again.
        if !self.record.is_open() || self.record.is_troubled() {
            return;
        }
        let live = self.shared.live.get();
        let may_send = self.may_call();
        let Self { tasks, shared, record, .. } = self;
        let held = Cell::new(None::<Duration>);
        let due = record.attempt(|requests| {
            requests.due(clock_ms(), TURN, |request| {
                if tasks.has(request.id) {
                    return false;
                }
                if request.state == State::Received {
                    return tasks.has_room();
                }
                match route(request, &mut shared.waiting.lock(), &live.commitment) {
                    Route::Later(after) => {
                        held.set([held.get(), after].into_iter().flatten().min());
                        false
                    }
                    Route::Now(_) | Route::Nowhere => may_send,
                }
            })
        });
        for request in due.unwrap_or_default() {
            match request.state {
                State::Received => {
                    self.seen.entry(request.id).or_default();
                    self.tasks.push(Task::first(request.id, self.terms()));
                }
                _ => self.dispatch(&request),
            }
        }
        let next_ms = self.record.attempt(|requests| requests.next_due_ms(clock_ms())).flatten();
        let next =
            next_ms.map(|next_ms| Duration::from_millis(next_ms.saturating_sub(clock_ms()).max(1).unsigned_abs()));
        if let Some(soon) = [next, held.get()].into_iter().flatten().min() {
            self.look_at = self.look_at.min(Instant::now() + soon);
        }
    }
}
