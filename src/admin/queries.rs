//! Questions to a file that may take a while: so many at a time, each leased, on threads that may block.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tidegate_actors::patience::within;
use tidegate_catalogue::{Error, QUERY_TIMEOUT};
use tidegate_memory::{Holder, Stage};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Most questions at a time. One more waits.
const MAX_QUERIES: usize = 4;
/// What a reader holds: its page cache of 2 MiB, its statements, two sets of studies (an eighth of a MiB each for a million), and the rows of its answer.
const QUERY_BYTES: u64 = 4 << 20;

/// Right after a start, a file is being made or brought up to date: a question waits for it.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to open it.
const START_INTERVAL: Duration = Duration::from_millis(20);

/// Opens a file for a question; one that `may_be_in_the_making` is waited for.
pub(super) fn opened<R>(may_be_in_the_making: bool, open: impl Fn() -> Result<R, Error>) -> Result<R, Error> {
    let began = Instant::now();
    loop {
        match open() {
            Err(_) if may_be_in_the_making && began.elapsed() < START_PATIENCE => sleep(START_INTERVAL),
            opened => return opened,
        }
    }
}

/// The questions of a surface, and the account that their memory is leased from.
#[derive(Clone, Debug)]
pub(super) struct Queries {
    free: Arc<Semaphore>,
    account: Arc<Holder>,
}

/// Why a question was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("{MAX_QUERIES} queries are running: try again")]
    Busy,
    #[error("the memory budget has no room for a query: try again")]
    NoMemory,
    #[error("the query failed: see the log of the node")]
    Panicked,
}

impl Queries {
    pub(super) fn new(account: Arc<Holder>) -> Self {
        Self { free: Arc::new(Semaphore::new(MAX_QUERIES)), account }
    }

    /// Asks a question, which stops itself after [`QUERY_TIMEOUT`]. By then each of those before it has been stopped, too.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let permit = within(QUERY_TIMEOUT, self.free.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(QueryError::Busy) };
        let lease = self.account.lease(Stage::Admin, QUERY_BYTES).map_err(|_| QueryError::NoMemory)?;
        let asked = spawn_blocking(move || {
            // Both are held until the query has ended, even if nobody waits for it any more.
            let _held = (permit, lease);
            question()
        });
        asked.await.map_err(|_| QueryError::Panicked)
    }
}
