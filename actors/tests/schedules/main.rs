//! The scheduler of writers, and the jobs in flight, under thousands of schedules.
//!
//! [shuttle](https://docs.rs/shuttle) runs a model of a few writers and associations on one thread and chooses the next thread at each
//! lock. The scheduler and `InFlight` are the real ones, compiled here against shuttle's locks (`sync`). Storage, jobs and the loop of a
//! writer are modelled. Between any two steps a writer may die, hang and be fenced, or be fenced and wake up late.
//!
//! A job that no writer takes is found as a deadlock, since its association waits for ever. The other invariants are checked when all
//! threads sleep, and again when all have ended: see [`model::Model::check_at_rest`].
//!
//! | variable | meaning |
//! |---|---|
//! | `TIDEGATE_SCHEDULES` | schedules for each test, from a random seed instead of the same one each time |
//! | `TIDEGATE_SCHEDULE` | a failing schedule or seed, as it was printed: that one alone |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "the sources of the node say what the node shows")]
#![allow(dead_code, reason = "the node uses more of the scheduler than the model")]

#[path = "../../mailbox/in_flight.rs"]
mod in_flight;
mod job;
mod mailbox;
mod model;
mod sync;
mod writer;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

use self::model::{Model, Scenario};

/// Schedules for each test and strategy in the gate.
const SCHEDULES: usize = 1500;
/// Changes of priority in a schedule of the second strategy.
const PCT_DEPTH: usize = 4;
/// Bytes of a thread's stack: formatted panics need more than shuttle gives.
const STACK_BYTES: usize = 256 * 1024;

fn run(scheduler: impl Scheduler + 'static, scenario: Scenario) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(scheduler, config).run(move || Model::run(scenario));
}

/// Explores schedules at random, and then schedules that delay one thread after the other for long.
fn explore(scenario: Scenario) {
    if let Ok(schedule) = std::env::var("TIDEGATE_SCHEDULE") {
        return match schedule.trim().parse() {
            Ok(seed) => run(RandomScheduler::new_from_seed(seed, 1), scenario),
            Err(_) => shuttle::replay(move || Model::run(scenario), &schedule),
        };
    }
    match std::env::var("TIDEGATE_SCHEDULES").ok().map(|schedules| schedules.parse().unwrap()) {
        Some(schedules) => {
            run(RandomScheduler::new(schedules), scenario);
            run(PctScheduler::new(PCT_DEPTH, schedules), scenario);
        }
        None => {
            run(RandomScheduler::new_from_seed(18, SCHEDULES), scenario);
            run(PctScheduler::new_from_seed(18, PCT_DEPTH, SCHEDULES), scenario);
        }
    }
}

#[test]
fn no_job_and_no_timer_is_lost_whatever_becomes_of_the_writers() {
    explore(Scenario { writers: 3, associations: 2, rounds: 2, window: 2, troubles: 2, is_one_immortal: true });
}

#[test]
fn without_trouble_nothing_waits_for_a_checkpoint_or_for_a_writer_that_could_be_woken() {
    explore(Scenario { writers: 2, associations: 3, rounds: 2, window: 2, troubles: 0, is_one_immortal: true });
    explore(Scenario { writers: 3, associations: 1, rounds: 1, window: 20, troubles: 0, is_one_immortal: true });
}

/// More small instances than one writer is to see to, and more batches than may wait for the next write of the log.
#[test]
fn a_backlog_is_served() {
    explore(Scenario { writers: 3, associations: 1, rounds: 1, window: 20, troubles: 1, is_one_immortal: true });
}

#[test]
fn what_is_discarded_is_closed_though_every_writer_ends() {
    explore(Scenario { writers: 2, associations: 0, rounds: 4, window: 0, troubles: 2, is_one_immortal: false });
}
