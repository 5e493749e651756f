//! The sources of studies: this node asks the one that has sent a study how many instances it has of it, by C-FIND (PS3.4 annex C), before the study counts
//! as complete.
//!
//! The catalogue has the questions as rows, with a bound for the wait, and puts them here. Nothing is lost with this child: a study without an answer goes by
//! what is known without one. A source that does not answer is not asked for [`SILENCE`], so it delays few studies.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tidegate_catalogue::{Answer, Question};
use tidegate_memory::{MemoryBudget, Stage};
use tidegate_protocol::query::{Match, Query};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::committed::clock_ms;
use crate::delivery::inquiry::{Failed, Inquiry};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::transport::TLS_LEASE_BYTES;
use crate::node::live::Live;
use crate::node::settings::{DicomDestination, LiveSettings, PeerSettings};
use crate::supervision::liveness::Liveness;

/// Questions that may be open at a time. The studies beyond go without.
const MAX_OPEN: usize = 1024;
/// Sources that are asked at a time, each over one association.
const MOST: usize = 4;
/// Series of a study, and instances of a series, that a source may name.
const MOST_MATCHES: u64 = 20_000;
/// Memory of the UIDs of as many of both.
const WORK_BYTES: u64 = 4 << 20;
/// Time for an association to come about, and to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A source that has failed to answer is not asked for so long.
const SILENCE: Duration = Duration::from_secs(60);
/// Sources whose silence is known. With more, the oldest is asked again.
const MAX_SILENT: usize = 1000;

/// The questions and answers between the catalogue and the child.
pub(crate) struct Sources {
    since_ms: i64,
    known: Mutex<Known>,
    asked: Notify,
    answered: Notify,
}

#[derive(Default)]
struct Known {
    questions: VecDeque<Question>,
    answers: Vec<Answer>,
    /// Questions that are being asked.
    under_way: usize,
    /// Since when a source has not answered, by its AE title.
    silent: HashMap<String, Instant>,
    /// By AE title.
    figures: BTreeMap<String, SourceFigures>,
}

/// What came of the questions to a source, since the start of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceFigures {
    /// Questions that were put to it.
    pub asked: u64,
    /// Those that it has answered, also with no such study.
    pub answered: u64,
    /// Those that it has not answered, or not in time.
    pub failed: u64,
}

impl Sources {
    pub(crate) fn new() -> Self {
        Self { since_ms: clock_ms(), known: Mutex::default(), asked: Notify::new(), answered: Notify::new() }
    }

    /// Questions from before are of a former process. Later ones are answered here or are over at their deadline, whatever settings change meanwhile.
    pub(crate) fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Whether a question may be put to the source with this AE title, beside so `many` that are being put.
    pub(crate) fn may_ask(&self, live: &LiveSettings, ae_title: &str, many: usize) -> bool {
        if !live.events.asks_sources || live.commitment.peer(ae_title).is_none() {
            return false;
        }
        let known = self.known.lock();
        let open = known.questions.len() + known.under_way + known.answers.len() + many;
        let is_silent = known.silent.get(ae_title).is_some_and(|since| since.elapsed() < SILENCE);
        open < MAX_OPEN && !is_silent
    }

    /// Puts questions.
    pub(crate) fn ask(&self, questions: Vec<Question>) {
        if questions.is_empty() {
            return;
        }
        let mut known = self.known.lock();
        for question in &questions {
            known.figures_of(&question.ae_title).asked += 1;
        }
        known.questions.extend(questions);
        drop(known);
        self.asked.notify_one();
    }

    /// What came of the questions, by the AE titles of the sources in the settings.
    pub(crate) fn figures(&self, live: &LiveSettings) -> Vec<(String, SourceFigures)> {
        let known = self.known.lock();
        let is_there = |ae_title: &str| live.events.asks_sources && live.commitment.peer(ae_title).is_some();
        let there = known.figures.iter().filter(|(ae_title, _)| is_there(ae_title));
        there.map(|(ae_title, figures)| (ae_title.clone(), *figures)).collect()
    }

    /// Whether [`take_answers`](Self::take_answers) has something.
    pub(crate) fn have_answered(&self) -> bool {
        !self.known.lock().answers.is_empty()
    }

    /// Takes the answers.
    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut self.known.lock().answers)
    }

    /// Waits until there is an answer.
    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// Takes the questions to one source that is not being asked: those to the source of the first of them.
    fn take_questions(&self, busy: &[String]) -> Option<(String, Vec<Question>)> {
        let mut known = self.known.lock();
        let ae_title = known.questions.iter().find(|question| !busy.contains(&question.ae_title))?.ae_title.clone();
        let all = std::mem::take(&mut known.questions);
        let (taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|question| question.ae_title == ae_title);
        known.questions = left.into();
        known.under_way += taken.len();
        Some((ae_title, taken))
    }

    fn answer(&self, question: Question, instances: Option<u32>) {
        self.known.lock().figures_of(&question.ae_title).answered += 1;
        self.end(question, instances);
    }

    fn fail(&self, question: Question) {
        self.known.lock().figures_of(&question.ae_title).failed += 1;
        self.end(question, None);
    }

    fn end(&self, question: Question, instances: Option<u32>) {
        let Question { study_uid, asked_ms, .. } = question;
        let mut known = self.known.lock();
        known.under_way -= 1;
        known.answers.push(Answer { study_uid, asked_ms, instances: instances.map(i64::from) });
        drop(known);
        self.answered.notify_one();
    }

    fn note_silence(&self, ae_title: &str) {
        let mut known = self.known.lock();
        if known.silent.len() >= MAX_SILENT
            && let Some(oldest) = known.silent.iter().min_by_key(|(_, since)| **since).map(|(title, _)| title.clone())
        {
            known.silent.remove(&oldest);
        }
        known.silent.insert(ae_title.to_owned(), Instant::now());
    }

    /// Whether it was silent.
    fn note_answer(&self, ae_title: &str) -> bool {
        self.known.lock().silent.remove(ae_title).is_some()
    }
}

impl Known {
    fn figures_of(&mut self, ae_title: &str) -> &mut SourceFigures {
        self.figures.entry(ae_title.to_owned()).or_default()
    }
}

/// What the child uses of the node.
pub(crate) struct Env {
    pub(crate) sources: Arc<Sources>,
    pub(crate) live: Arc<Live>,
    pub(crate) budget: MemoryBudget,
}

/// The child that asks.
pub(crate) struct SourcesActor {
    env: Env,
    /// Sources that are being asked.
    busy: Vec<String>,
    inquiries: FuturesUnordered<LocalBoxFuture<'static, String>>,
    liveness: Liveness,
}

impl SourcesActor {
    pub(crate) fn new(env: Env, liveness: Liveness) -> Self {
        // Those that a former child had are lost: their studies wait to the bound.
        env.sources.known.lock().under_way = 0;
        Self { env, busy: Vec::new(), inquiries: FuturesUnordered::new(), liveness }
    }

    pub(crate) async fn run(mut self) {
        self.liveness.ready();
        loop {
            self.begin();
            tokio::select! {
                biased;
                () = self.liveness.stop_requested() => break,
                Some(done) = self.inquiries.next() => self.busy.retain(|ae_title| *ae_title != done),
                () = self.env.sources.asked.notified() => {}
            }
        }
        self.liveness.finish();
    }

    fn begin(&mut self) {
        while self.inquiries.len() < MOST
            && let Some((ae_title, questions)) = self.env.sources.take_questions(&self.busy)
        {
            self.busy.push(ae_title.clone());
            let (sources, live, budget) = (self.env.sources.clone(), self.env.live.get(), self.env.budget.clone());
            self.inquiries.push(Box::pin(async move {
                inquire(&sources, &live, &budget, &ae_title, questions).await;
                ae_title
            }));
        }
    }
}

/// Puts questions to a source, over one association. Each gets an answer, or is over.
async fn inquire(
    sources: &Sources,
    live: &LiveSettings,
    budget: &MemoryBudget,
    ae_title: &str,
    questions: Vec<Question>,
) {
    let mut questions = VecDeque::from(questions);
    let asked = ask(sources, live, budget, ae_title, &mut questions).await;
    questions.into_iter().for_each(|question| sources.fail(question));
    match asked {
        Ok(()) => {
            if sources.note_answer(ae_title) {
                info!(ae_title, "source answers again how many instances it has");
            }
        }
        Err(reason) => {
            sources.note_silence(ae_title);
            warn!(
                ae_title,
                reason,
                silence_s = SILENCE.as_secs(),
                "source does not answer how many instances it has; its studies are complete when they are quiet"
            );
        }
    }
}

/// Takes each question off that has an answer. An error is of the source, and of all that are left.
async fn ask(
    sources: &Sources,
    live: &LiveSettings,
    budget: &MemoryBudget,
    ae_title: &str,
    questions: &mut VecDeque<Question>,
) -> Result<(), String> {
    let Some(peer) = live.commitment.peer(ae_title).filter(|_| live.events.asks_sources) else {
        return Ok(()); // a reload has ended it
    };
    let calling = live.associations.policy.ae_title.clone();
    let PeerSettings { ae_title: called, host, port, is_tls } = peer.clone();
    let destination = DicomDestination { host, port, called, calling, is_tls, connections: 1 };
    let bytes = FLOOR_LEASE_BYTES + WORK_BYTES + if is_tls { TLS_LEASE_BYTES } else { 0 };
    let holder = budget.open_account(format!("question to {ae_title:?}"));
    let _lease = holder.lease(Stage::Delivery, bytes).map_err(|_| "memory.budget is exhausted".to_owned())?;
    let opened = timeout(PATIENCE, Inquiry::open(&destination, live.commitment.tls.clone())).await;
    let opened = opened.map_err(|_| format!("no association within {} s", PATIENCE.as_secs()))?;
    let mut inquiry = opened.map_err(|error| error.to_string())?;
    while let Some(question) = questions.front() {
        if question.until_ms <= clock_ms() {
            questions.pop_front().into_iter().for_each(|question| sources.fail(question));
            continue;
        }
        let left = Duration::from_millis(u64::try_from(question.until_ms - clock_ms()).unwrap_or(0));
        let instances = timeout(left, count(&mut inquiry, &question.study_uid)).await;
        let instances = instances.map_err(|_| format!("it has not answered within {} s", left.as_secs()))??;
        questions.pop_front().into_iter().for_each(|question| sources.answer(question, instances));
    }
    let _ = timeout(PATIENCE, inquiry.close()).await; // it has answered
    Ok(())
}

/// The instances of a study that a source has; `None`: it knows no such study. The number is an optional key: a source that does not give it is asked for the
/// instances themselves.
async fn count(inquiry: &mut Inquiry, study: &str) -> Result<Option<u32>, String> {
    let (mut is_known, mut told) = (false, None);
    let take = |found: Match| {
        if found.study.as_deref() == Some(study) {
            (is_known, told) = (true, found.study_instances);
        }
    };
    put(inquiry, Query::Study { study }, take).await?;
    if !is_known || told.is_some() {
        return Ok(told);
    }
    let mut all_series = BTreeSet::new();
    put(inquiry, Query::Series { study }, |found| all_series.extend(found.series)).await?;
    let mut count = 0;
    for series in &all_series {
        let mut uids = BTreeSet::new();
        put(inquiry, Query::Images { study, series }, |found| uids.extend(found.instance)).await?;
        count += u32::try_from(uids.len()).unwrap_or(0);
    }
    Ok(Some(count))
}

async fn put(inquiry: &mut Inquiry, query: Query<'_>, take: impl FnMut(Match)) -> Result<(), String> {
    let answered = inquiry.ask(query, MOST_MATCHES, take).await.map_err(|error| error.to_string())?;
    answered.map_err(|Failed { status, comment }| format!("it answers with status {status:04X} {comment}"))
}
