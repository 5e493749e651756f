use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;
use crate::plan::Overrides;
use crate::receiver::{Act, Receiver};
use crate::reconcile::Verify;
use crate::scenario::Scenario;

/// A scenario of tiny instances of two kinds, with these lines in `[load]` and `[associations]`.
fn scenario(load: &str, associations: &str) -> Scenario {
    let text = format!(
        "name = \"t\"\n[load]\n{load}\n[associations]\ntimeout_s = 10\n{associations}\n\
         [[mix]]\nmodality = \"SR\"\ninstances = \"1..3\"\n\
         [[mix]]\nmodality = \"CT\"\nrows = 8\ncolumns = 8\nseries = \"1..2\"\ninstances = \"2..4\"\n"
    );
    Scenario::parse(&text, "t.toml", Path::new("")).unwrap()
}

fn plan(receiver: &Receiver, load: &str, associations: &str) -> Plan {
    let overrides = Overrides { target: receiver.address.clone(), ..Overrides::default() };
    let mut plan = Plan::from_scenario(&scenario(load, associations), &overrides).unwrap();
    plan.quiet = true;
    plan
}

/// Runs without a look at what is stored, and with a ledger.
fn run_plan(plan: &mut Plan) -> (RunResult, Ledger) {
    plan.verify = Some(Verify::Hook("true".into()));
    load(plan, &mut |_| {}).unwrap()
}

#[test]
fn every_instance_of_a_closed_load_is_sent_once_and_accounted_for_everywhere() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let mut plan = plan(&receiver, "instances = 100", "count = 3");
    let mut watched = 0;
    plan.verify = Some(Verify::Hook("true".into()));
    let (result, _) = load(&plan, &mut |second| watched += second.acknowledged).unwrap();
    let stored = receiver.stored.lock().unwrap();
    let bytes: u64 = stored.values().map(|dataset| dataset.len() as u64).sum();
    assert_eq!((stored.len(), result.totals.acknowledged, result.totals.bytes, watched), (100, 100, bytes, 100));
    assert_eq!(result.totals.failed(), 0);
    assert_eq!((result.latency.count, result.service.count), (100, 100));
    assert_eq!(result.series.iter().map(|second| second.bytes).sum::<u64>(), bytes);
    assert_eq!(result.modalities.iter().map(|kind| kind.acknowledged).sum::<u64>(), 100);
    assert!(result.modalities.iter().all(|kind| kind.acknowledged > 0), "{:?}", result.modalities);
    // An association for each study, and one before the clock ran.
    assert_eq!(result.totals.associations_opened + 1, receiver.connections.load(Ordering::Relaxed));
    assert!(result.totals.associations_opened > 3);
}

#[test]
fn what_is_sent_is_what_the_ledger_says_and_the_seed_decides() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let mut first = plan(&receiver, "instances = 30", "count = 1");
    let (_, ledger) = run_plan(&mut first);
    let once = std::mem::take(&mut *receiver.stored.lock().unwrap());
    run_plan(&mut first);
    assert_eq!(once, *receiver.stored.lock().unwrap(), "the same seed sends the same bytes");
    // The ledger makes the same datasets again.
    let directory = tempfile::tempdir().unwrap();
    for (uid, dataset) in &once {
        std::fs::write(directory.path().join(uid), digest(dataset)).unwrap();
    }
    let hook = Verify::Hook(format!("cd {} && cat", directory.path().display()));
    let verification = reconcile::check(&ledger, &hook).unwrap();
    assert_eq!((verification.acknowledged, verification.whole), (30, 30), "{verification:?}");
}

fn digest(dataset: &[u8]) -> String {
    format!("{:x}", Sha256::digest(dataset))
}

#[test]
fn equal_shares_make_two_runs_send_the_same_whoever_is_quicker() {
    let sent = |slow: u64| {
        // One in three answers is late, another one each time.
        let receiver = Receiver::start(move |number| {
            thread::sleep(Duration::from_millis(if number % 3 == slow { 5 } else { 0 }));
            Act::Acknowledge
        });
        let mut plan = plan(&receiver, "instances = 50", "count = 4");
        (plan.equal_shares, plan.run) = (true, 1);
        let (result, _) = run_plan(&mut plan);
        assert_eq!((result.totals.acknowledged, result.totals.failed()), (50, 0));
        let stored = std::mem::take(&mut *receiver.stored.lock().unwrap());
        stored.into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(sent(0), sent(1));
}

#[test]
fn lifetimes_decide_how_many_associations_there_are() {
    for (lifetime, expected) in [("run", 1), ("instance", 20)] {
        let receiver = Receiver::start(|_| Act::Acknowledge);
        let associations = format!("count = 1\nlifetime = \"{lifetime}\"");
        let (result, _) = run_plan(&mut plan(&receiver, "instances = 20", &associations));
        assert_eq!(result.totals.associations_opened, expected, "{lifetime}");
    }
}

#[test]
fn refusals_aborts_and_lost_connections_are_counted_apart_and_the_load_goes_on() {
    let receiver = Receiver::start(|number| match number {
        3 => Act::Refuse(0xA700),
        5 => Act::Abort,
        7 => Act::Close,
        _ => Act::Acknowledge,
    });
    let (result, ledger) = run_plan(&mut plan(&receiver, "instances = 20", "count = 1\nlifetime = \"run\""));
    let totals = &result.totals;
    assert_eq!((totals.acknowledged, totals.unanswered, totals.unsent), (17, 2, 0));
    assert_eq!(totals.refused.get("A700"), Some(&1));
    assert_eq!((totals.associations_opened, totals.associations_failed), (3, 2));
    // The ledger knows an instance that was never acknowledged: everything is lost for a hook that finds nothing.
    let verification = reconcile::check(&ledger, &Verify::Hook("true".into())).unwrap();
    assert_eq!((verification.lost.len(), verification.unacknowledged_absent), (17, 3));
}

#[test]
fn a_receiver_that_goes_away_ends_the_run_with_the_rest_unsent() {
    let receiver = Receiver::start(|number| if number < 4 { Act::Acknowledge } else { Act::Close });
    let mut plan = plan(&receiver, "instances = 1000", "count = 2\nreconnect = false");
    let (result, _) = run_plan(&mut plan);
    let totals = &result.totals;
    assert_eq!((totals.acknowledged, totals.unanswered), (4, 2));
    assert_eq!(totals.unsent, 994);
}

#[test]
fn a_window_keeps_as_many_messages_outstanding_as_were_granted() {
    // A receiver that answers only when four wait would wait for ever for a generator that sends one at a time.
    let receiver = Receiver::start(|_| Act::Gather(4));
    let mut plan = plan(&receiver, "instances = 40", "count = 1\nlifetime = \"run\"\nasync_window = 4");
    let (result, _) = run_plan(&mut plan);
    assert_eq!((result.totals.acknowledged, result.totals.failed()), (40, 0));
}

#[test]
fn a_stall_of_the_receiver_is_in_the_latency_of_all_that_were_due() {
    let receiver = Receiver::start(|number| {
        if number == 0 {
            thread::sleep(Duration::from_millis(600));
        }
        Act::Acknowledge
    });
    let load = "model = \"open\"\nrate_per_s = 100\narrival = \"even\"\ninstances = 60";
    let (result, _) = run_plan(&mut plan(&receiver, load, "count = 1\nlifetime = \"run\""));
    assert_eq!(result.totals.acknowledged, 60);
    let waited = |latency: &crate::result::Latency| latency.histogram().unwrap().count_between(100_000, u64::MAX);
    // All that were due in the first half second waited for a tenth of one or more; on the wire only the first did.
    assert!(waited(&result.latency) >= 45, "{:?}", result.latency);
    assert!(waited(&result.service) < waited(&result.latency), "{:?}", result.service);
}

#[test]
fn steps_end_with_the_one_that_the_receiver_does_not_keep_up_with() {
    // About 100 a second on its one association, whatever is offered.
    let receiver = Receiver::start(|_| {
        thread::sleep(Duration::from_millis(10));
        Act::Acknowledge
    });
    let load = "model = \"steps\"\nrates_per_s = [10, 2000, 4000]\nstep_s = 2\narrival = \"even\"\nknee_p99_ms = 1500";
    let (result, _) = run_plan(&mut plan(&receiver, load, "count = 1\nlifetime = \"run\""));
    let knees: Vec<_> = result.steps.iter().map(|step| (step.offered_per_s, step.knee)).collect();
    assert_eq!(knees, [(10.0, true), (2000.0, false)]);
    assert!(result.steps[1].achieved_per_s < 1000.0, "{:?}", result.steps);
    assert!(result.totals.unsent > 1000, "{:?}", result.totals);
}

/// The same with a name of one's own for what a sender sends.
fn plan_of(text: &str, receiver: &Receiver) -> Plan {
    let scenario = Scenario::parse(text, "t.toml", Path::new("")).unwrap_or_else(|error| panic!("{error}"));
    let overrides = Overrides { target: receiver.address.clone(), ..Overrides::default() };
    let mut plan = Plan::from_scenario(&scenario, &overrides).unwrap();
    plan.quiet = true;
    plan
}

#[test]
fn senders_have_their_own_kinds_paces_and_associations() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let text = "name = \"t\"\n[load]\nduration_s = 2\n[associations]\ntimeout_s = 10\n\
                [[mix]]\nname = \"slices\"\nmodality = \"CT\"\nrows = 8\ncolumns = 8\ninstances = 50\n[[mix]]\nmodality = \"SR\"\n\
                [[senders]]\nname = \"CT\"\ncount = 2\nassociations = 2\nmix = [\"slices\"]\nrate_per_s = 20\narrival = \"even\"\n\
                lifetime = \"run\"\ninstances_per_association = 5\n\
                [[senders]]\nname = \"reports\"\nmix = [\"SR\"]\nrate_per_s = 10\narrival = \"even\"\nlifetime = \"run\"\n";
    let (result, _) = run_plan(&mut plan_of(text, &receiver));
    // Two devices of 20 a second and one of 10, for two seconds; what a slow machine did not come to is unsent.
    let of: Vec<_> = result.senders.iter().map(|sender| (sender.name.as_str(), sender.acknowledged)).collect();
    let [("CT", slices), ("reports", reports)] = of[..] else { panic!("{of:?}") };
    assert!((1..=80).contains(&slices) && (1..=20).contains(&reports), "{of:?}");
    assert_eq!(slices + reports + result.totals.unsent, 100);
    assert_eq!(result.modalities.iter().map(|kind| kind.acknowledged).collect::<Vec<_>>(), [slices, reports]);
    // Of the CTs five instances an association and not more, of the reports one association in all.
    assert!(result.totals.associations_opened > slices.div_ceil(5), "{:?}", result.totals);
    assert!(result.totals.associations_opened <= slices.div_ceil(5) + 5, "{:?}", result.totals);
}

#[test]
fn a_number_of_instances_is_shared_by_all_senders() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let text = "name = \"t\"\n[load]\ninstances = 60\n[[mix]]\nmodality = \"SR\"\n\
                [[senders]]\nname = \"one\"\n[[senders]]\nname = \"two\"\ncount = 2\n";
    let (result, _) = run_plan(&mut plan_of(text, &receiver));
    assert_eq!((result.totals.acknowledged, result.totals.failed()), (60, 0));
    assert_eq!(result.senders.iter().map(|sender| sender.acknowledged).sum::<u64>(), 60);
}

#[test]
fn a_recorded_log_is_played_at_its_times_and_what_its_associations_sent_is_sent() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let directory = tempfile::tempdir().unwrap();
    let line = |second: &str, peer: u8, more: &str, message: &str| {
        format!(
            "{{\"timestamp\":\"2026-11-28T10:00:{second}Z\",\"peer\":\"10.0.0.{peer}:1\",\"calling\":\"CT{peer}\"{more},\"message\":\"{message}\"}}\n"
        )
    };
    let log = [
        line("00.000000", 1, "", "association accepted"),
        line("00.500000", 2, "", "association accepted"),
        line("01.000000", 1, ",\"acknowledged\":20,\"refused\":0", "association ended"),
        line("01.200000", 2, ",\"acknowledged\":3,\"refused\":1", "association ended"),
    ];
    std::fs::write(directory.path().join("node.log"), log.concat()).unwrap();
    let text = "name = \"t\"\n[load]\nmodel = \"trace\"\ntrace = \"node.log\"\n[[mix]]\nmodality = \"SR\"\n";
    let scenario = Scenario::parse(text, "t.toml", directory.path()).unwrap();
    let overrides = Overrides { target: receiver.address.clone(), ..Overrides::default() };
    let mut plan = Plan::from_scenario(&scenario, &overrides).unwrap();
    let (result, _) = run_plan(&mut plan);
    assert_eq!((result.totals.acknowledged, result.totals.failed()), (24, 0));
    assert_eq!(result.totals.associations_opened, 2);
    // The last is due at 0.5 s and three quarters of 0.7 s.
    assert!(result.elapsed_s >= 1.02, "{}", result.elapsed_s);
}

#[test]
fn what_warms_up_is_sent_and_in_no_figure() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let load = "model = \"open\"\nrate_per_s = 50\narrival = \"even\"\nduration_s = 2\nwarm_up_s = 1";
    let (result, ledger) = run_plan(&mut plan(&receiver, load, "count = 2"));
    let totals = &result.totals;
    assert_eq!(totals.acknowledged + totals.warm_up + totals.unsent, 100);
    assert!((1..=50).contains(&totals.warm_up) && totals.acknowledged > 0, "{totals:?}");
    assert_eq!(result.latency.count, totals.acknowledged);
    let verified = reconcile::check(&ledger, &Verify::Hook("true".into())).unwrap();
    assert_eq!(verified.acknowledged, totals.acknowledged + totals.warm_up);
}

#[test]
fn a_stop_from_outside_ends_a_load_that_has_no_end_of_its_own() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let plan = plan(&receiver, "duration_s = 3600", "count = 2");
    let stop = Arc::clone(&plan.stop);
    let (result, _) = load(&plan, &mut |_| stop.store(true, Ordering::Relaxed)).unwrap();
    assert!(result.totals.acknowledged > 0 && result.totals.failed() == 0, "{:?}", result.totals);
}

#[test]
fn a_target_that_is_not_there_is_an_error_and_not_a_result() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let overrides = Overrides { target: gone, ..Overrides::default() };
    let plan = Plan::from_scenario(&scenario("instances = 1", ""), &overrides).unwrap();
    assert!(matches!(run(&plan, &mut |_| {}), Err(EngineError::Unreachable { .. })));
}

#[test]
fn overrides_take_the_place_of_what_the_scenario_says() {
    let with = |overrides: &Overrides| Plan::from_scenario(&scenario("duration_s = 9", ""), overrides);
    let plan = with(&Overrides { rate_per_s: Some(5.0), instances: Some(7), ..Overrides::default() }).unwrap();
    assert_eq!(plan.describe_load(), "open, 5/s poisson, 8 associations, 7 instances");
    let error = with(&Overrides { rate_per_s: Some(0.0), ..Overrides::default() }).err().unwrap().to_string();
    assert!(error.contains("more than 0"), "{error}");
    let steps = scenario("model = \"steps\"\nrates_per_s = [1]", "");
    let error = Plan::from_scenario(&steps, &Overrides { duration_s: Some(1.0), ..Overrides::default() });
    assert!(matches!(error, Err(PlanError::Steps { .. })));
}

#[test]
fn bad_peers_are_counted_apart_and_take_nothing_from_the_load() {
    let receiver = Receiver::start(|_| Act::Acknowledge);
    let bad_peers = "duration_s = 3600\n[[bad_peers]]\nkind = \"duplicates\"\nsize = \"1 KiB\"\nevery_s = 0.02\n\
                    [[bad_peers]]\nkind = \"mid-dataset-abort\"\nsize = \"1 KiB\"\nevery_s = 0.02\n\
                    [[bad_peers]]\nkind = \"port-check\"\nevery_s = 0.02\n[[bad_peers]]\nkind = \"http\"\nevery_s = 0.02\n\
                    [[bad_peers]]\nkind = \"half-open\"\nsize = \"1 KiB\"\n[[bad_peers]]\nkind = \"slow-loris\"\n\
                    [[bad_peers]]\nkind = \"reconnect-storm\"\nevery_s = 0.02\n\
                    [[bad_peers]]\nkind = \"huge-instance\"\nsize = \"16 MiB\"\nevery_s = 0.02\n";
    let mut plan = plan(&receiver, bad_peers, "count = 1");
    plan.verify = Some(Verify::Hook("true".into()));
    let stop = Arc::clone(&plan.stop);
    // Not before each of them can have visited a few times; a flood would only fill the queue of connections to be accepted.
    let connections = Arc::clone(&receiver.connections);
    let enough = move |second: &Second| second.t_s > 1.5 && connections.load(Ordering::Relaxed) > 100;
    let (result, _) = load(&plan, &mut |second| stop.store(enough(second), Ordering::Relaxed)).unwrap();
    let bad_peers = &result.totals.bad_peers;
    for expected in [
        "duplicates.acknowledged",
        "half-open.outlasted",
        "http.closed",
        "huge-instance.acknowledged",
        "mid-dataset-abort.aborted",
        "port-check.connected",
        "reconnect-storm.released",
        "slow-loris.outlasted",
    ] {
        assert!(bad_peers.contains_key(expected), "{expected} in {bad_peers:?}");
    }
    assert_eq!(result.totals.failed() + result.totals.associations_failed, 0, "{:?}", result.totals);
    // The receiver has the instances of the load, and those that bad peers sent under their own numbers.
    let stored = receiver.stored.lock().unwrap();
    // Of the bad peers only those that finish what they begin are there: duplicates first, the huge instance last.
    let of_bad_peers = stored.keys().filter_map(|uid| crate::uid::parse_instance(uid)?.association.checked_sub(90_000));
    let mut of_bad_peers: Vec<_> = of_bad_peers.collect();
    of_bad_peers.sort_unstable();
    of_bad_peers.dedup();
    assert_eq!(of_bad_peers, [0, 7]);
    let of_load =
        stored.keys().filter(|uid| crate::uid::parse_instance(uid).unwrap().association < reconcile::FIRST_BAD_PEER);
    assert_eq!(of_load.count() as u64, result.totals.acknowledged);
}
