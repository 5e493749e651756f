use super::*;
use crate::job::{AppendJob, CommitJob, SpoolPart, SpoolTarget, StoreInstance};
use bytes::Bytes;
use tidegate_storage::head::Head;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{Instance, Payload};
use tokio::sync::oneshot;

fn meta() -> FileMeta {
    let uid = || Uid::parse(b"1.2.3").unwrap();
    FileMeta {
        sop_class_uid: uid(),
        sop_instance_uid: uid(),
        transfer_syntax_uid: String::new(),
        source_ae_title: String::new(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    }
}

fn job() -> Job {
    let spool = SpoolTarget::New(meta());
    let part = Arc::new(SpoolPart { spool, offset_bytes: 0, content: Mutex::default() });
    Job::Append(AppendJob { part, reply: oneshot::channel().0 })
}

fn small_job() -> Job {
    let payload = Payload::Memory(vec![Bytes::from_static(b"small")]);
    let instance = Instance::new(meta(), Head::default(), payload);
    let store = Arc::new(StoreInstance { instance, leases: Vec::new() });
    Job::Commit(CommitJob { store, lane: Lane::Small, reply: oneshot::channel().0 })
}

const PATIENCE: Duration = Duration::from_secs(30);

fn mailbox(capacity: usize, writers: usize) -> WriterMailbox {
    WriterMailbox::new(capacity, writers, Arc::default())
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_jobs_than_places_however_many_senders_try() {
    let mailbox = mailbox(4, 1);
    let senders = (0..100).map(|_| mailbox.hand_over(PATIENCE, job));
    let handed = futures_util::future::join_all(senders).await;
    assert_eq!(handed.iter().filter(|result| result.is_ok()).count(), 4);
    assert_eq!((mailbox.depth(), mailbox.take_high_water()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_as_soon_as_a_writer_has_taken_the_job() {
    let mailbox = mailbox(1, 1);
    mailbox.hand_over(PATIENCE, job).await.unwrap();
    let mut taken = Vec::new();
    let mut turn = Turn::default();
    let (handed, ()) = tokio::join!(mailbox.hand_over(PATIENCE, job), mailbox.take(1, &mut turn, &mut taken));
    assert_eq!(handed, Ok(()));
    assert_eq!((taken.len(), mailbox.depth()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_writer_leaves_the_others_their_share() {
    let mailbox = mailbox(16, 4);
    for _ in 0..9 {
        mailbox.hand_over(PATIENCE, job).await.unwrap();
    }
    let mut taken = Vec::new();
    mailbox.take(16, &mut Turn::default(), &mut taken).await;
    assert_eq!(taken.len(), 3, "one, and a quarter of the other eight");
    taken.clear();
    mailbox.take(1, &mut Turn::default(), &mut taken).await;
    assert_eq!(taken.len(), 1, "never more than asked for");
    assert_eq!(mailbox.depth(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_found_no_place_is_not_even_made() {
    let mailbox = mailbox(1, 1);
    mailbox.hand_over(PATIENCE, job).await.unwrap();
    let late = mailbox.hand_over(PATIENCE, || unreachable!()).await;
    assert_eq!(late, Err(HandoffTimeout));
}

/// Jobs that find a place within no time.
async fn places(mailbox: &WriterMailbox) -> usize {
    let mut found = 0;
    while mailbox.hand_over(Duration::ZERO, job).await.is_ok() {
        found += 1;
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_grows_lets_more_in_and_loses_nothing_that_waits() {
    let mailbox = mailbox(2, 1);
    assert_eq!(places(&mailbox).await, 2);
    mailbox.set_capacity(5);
    assert_eq!((places(&mailbox).await, mailbox.depth()), (3, 5));
    let mut taken = Vec::new();
    mailbox.take(5, &mut Turn::default(), &mut taken).await;
    assert_eq!((taken.len(), mailbox.depth()), (5, 0));
    assert_eq!(places(&mailbox).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_shrinks_holds_once_what_waits_has_gone() {
    let mailbox = mailbox(6, 1);
    for _ in 0..4 {
        mailbox.hand_over(PATIENCE, job).await.unwrap();
    }
    mailbox.set_capacity(2);
    assert_eq!(places(&mailbox).await, 0, "four wait where two may");
    let mut taken = Vec::new();
    mailbox.take(2, &mut Turn::default(), &mut taken).await;
    assert_eq!(places(&mailbox).await, 0, "two still wait");
    mailbox.take(1, &mut Turn::default(), &mut taken).await;
    assert_eq!(places(&mailbox).await, 1);
    mailbox.take(8, &mut Turn::default(), &mut taken).await;
    assert_eq!((taken.len(), places(&mailbox).await), (5, 2));
    // Back again, with places still to be taken away.
    mailbox.set_capacity(1);
    mailbox.set_capacity(6);
    mailbox.take(8, &mut Turn::default(), &mut taken).await;
    assert_eq!(places(&mailbox).await, 6);
}

#[tokio::test(start_paused = true)]
async fn small_instances_are_taken_all_at_once_by_two_writers_at_a_time() {
    let mailbox = mailbox(16, 4);
    let mut turns = [Turn::default(), Turn::default(), Turn::default()];
    let mut taken = Vec::new();
    for turn in &mut turns[..SEATS] {
        for _ in 0..3 {
            mailbox.hand_over(PATIENCE, small_job).await.unwrap();
        }
        mailbox.take(16, turn, &mut taken).await;
    }
    assert_eq!((taken.len(), mailbox.depth()), (6, 0));
    // Another finds no seat, but what is large.
    taken.clear();
    mailbox.hand_over(PATIENCE, small_job).await.unwrap();
    mailbox.hand_over(PATIENCE, job).await.unwrap();
    mailbox.take(16, &mut turns[2], &mut taken).await;
    assert!(matches!(taken[..], [Job::Append(_)]), "{taken:?}");
    taken.clear();
    assert!(timeout(PATIENCE, mailbox.take(16, &mut turns[2], &mut taken)).await.is_err());
    assert!(taken.is_empty());
    // One that has got as far, or has died, leaves its seat to it.
    turns[0].seat = None;
    mailbox.take(16, &mut turns[2], &mut taken).await;
    assert_eq!(taken.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_writer_alone_serves_both_lanes_in_turn() {
    let mailbox = mailbox(16, 1);
    let (mut turn, mut order) = (Turn::default(), Vec::new());
    for _ in 0..4 {
        mailbox.hand_over(PATIENCE, job).await.unwrap();
    }
    for _ in 0..4 {
        mailbox.hand_over(PATIENCE, small_job).await.unwrap();
        let mut taken = Vec::new();
        mailbox.take(1, &mut turn, &mut taken).await;
        turn.seat = None;
        order.push(taken[0].lane());
    }
    assert_eq!(order, [Lane::Small, Lane::Large, Lane::Small, Lane::Large]);
}
