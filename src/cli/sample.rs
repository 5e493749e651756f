//! A node at one moment, for the tests of what `status`, `associations`, `writers` and `top` print.

use tidegate_memory::Level;

use crate::admin::model::{Association, EndedEntry, Leased, Quantiles, RefusedEntry, Second, Status, Storage};
use crate::admin::outgoing::{DeliveryHealth, EventsHealth, NotTaking};
use crate::admin::writers::{Writer, Writers};
use crate::admin::{CatalogueHealth, Check, CommitmentFailure, CommitmentHealth, Readiness};

const MIB: u64 = 1 << 20;
const NOW: u64 = 1_700_000_000_000;

pub(super) fn second(at_unix_ms: u64) -> Second {
    Second {
        at_unix_ms,
        length_ms: 1000,
        budget_bytes: 512 * MIB,
        leased: Leased {
            floor: 2 * MIB,
            tls: 0,
            negotiating: 0,
            receiving: 30 * MIB,
            queued: 10 * MIB,
            writing: 8 * MIB,
            spooling: 2 * MIB,
            catalogue: 0,
            commitment: 0,
            delivery: 0,
            admin: 0,
        },
        resident_bytes: 90 * MIB,
        allocated_bytes: 60 * MIB,
        pressure: Level::Normal,
        associations: 2,
        mailbox_depth: 5,
        writers_busy: 3,
        received_bytes: 24 * MIB,
        acknowledged: 41,
        acknowledged_bytes: 22 * MIB,
        refused: 0,
        response: Some(Quantiles { p50_us: 6_200, p99_us: 1_200_000 }),
        commit: Some(Quantiles { p50_us: 5_000, p99_us: 900_000 }),
    }
}

fn commitment() -> CommitmentHealth {
    CommitmentHealth {
        condition: "serving".to_owned(),
        reason: None,
        remedy: None,
        pending: 3,
        retrying: 2,
        without_address: 0,
        oldest_pending_ms: Some(7_500_000),
        given_up: 0,
        received_total: 815,
        reported_total: 812,
        gave_up_total: 0,
        committed_total: 80_000,
        not_committed_total: 2,
        last_failure: Some(CommitmentFailure {
            at_unix_ms: 0,
            id: 7,
            calling_ae_title: "CT1".to_owned(),
            error: "cannot connect to 10.0.0.9:104: refused".to_owned(),
        }),
    }
}

fn not_taking(name: &str, reason: &str, error: Option<&str>) -> NotTaking {
    NotTaking { name: name.to_owned(), reason: reason.to_owned(), error: error.map(str::to_owned) }
}

pub(super) fn delivery() -> DeliveryHealth {
    DeliveryHealth {
        destinations: 3,
        waiting: 40,
        retrying: 2,
        sent: 5,
        dead: 1,
        oldest_waiting_ms: Some(7_500_000),
        not_taking: vec![
            not_taking("archive", "down", Some("cannot connect to 10.0.0.7:104: refused")),
            not_taking("research", "paused", None),
        ],
    }
}

pub(super) fn events() -> EventsHealth {
    EventsHealth {
        sinks: 2,
        waiting: 12,
        dead: 3,
        oldest_waiting_ms: Some(1_200_000),
        not_taking: vec![not_taking("ris", "gone", None)],
    }
}

pub(super) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        ae_title: "GATEWAY".to_owned(),
        started_unix_ms: NOW - 3_725_000,
        now_unix_ms: NOW,
        phase: "serving".to_owned(),
        readiness: not_ready(),
        durability: "fsync".to_owned(),
        certificate_not_after_unix_s: None,
        associations: 2,
        associations_max: 512,
        mailbox_depth: 5,
        mailbox_capacity: 64,
        writers: 8,
        writers_running: 8,
        writers_busy: 3,
        writers_allowed: 4,
        received_bytes_total: 5 << 30,
        acknowledged_total: 1204,
        acknowledged_bytes_total: 4 << 30,
        refused_total: 3,
        restarts_total: 1,
        associations_panicked_total: 0,
        leaks_suspected_total: 0,
        hung_threads: 0,
        pressure: Level::Normal,
        budget_bytes: 512 * MIB,
        held_bytes: 52 * MIB,
        resident_bytes: 90 * MIB,
        allocated_bytes: 60 * MIB,
        unattributed_bytes: 3,
        storage: Some(Storage {
            writable: true,
            free_bytes: 100 * MIB,
            size_bytes: 500 << 30,
            min_free_bytes: 512 * MIB,
            ready_above_bytes: 576 * MIB,
            free_inodes: Some(1_200_000),
            age_ms: 300,
            unanswered_ms: None,
            set_aside: 0,
        }),
        catalogue: Some(CatalogueHealth {
            condition: "behind".to_owned(),
            reason: Some("the queue of the catalogue was full".to_owned()),
            remedy: None,
            waiting: 0,
            entered_total: 1190,
            missed_total: 14,
            files: Some(7000),
            bytes: 3 << 20,
        }),
        commitment: Some(commitment()),
        delivery: Some(delivery()),
        events: Some(events()),
        last_second: Some(second(NOW)),
        refused: refusals(),
        ended: vec![EndedEntry {
            at_unix_ms: NOW - 65_000,
            child: "writer-2".to_owned(),
            cause: "panicked: on purpose".to_owned(),
            next: "restart".to_owned(),
        }],
    }
}

fn not_ready() -> Readiness {
    let check = |name: &str, ok: bool, detail: &str| Check { name: name.to_owned(), ok, detail: detail.to_owned() };
    let space = "100 MiB free, ready above 576 MiB (storage.min_free = 512 MiB and an eighth of it): make room, or lower the key";
    Readiness { ready: false, checks: vec![check("writers", true, "8 of 8 are running"), check("space", false, space)] }
}

fn refusals() -> Vec<RefusedEntry> {
    let refused =
        |ago_ms: u64, [calling, called, peer]: [&str; 3], reason: &str, status: Option<&str>, detail: &str| {
            RefusedEntry {
                at_unix_ms: NOW - ago_ms,
                what: if status.is_some() { "instance" } else { "association" }.to_owned(),
                peer: peer.to_owned(),
                calling_ae_title: calling.to_owned(),
                called_ae_title: called.to_owned(),
                reason: reason.to_owned(),
                status: status.map(str::to_owned),
                sop_instance_uid: status.map(|_| "1.2.840.7".to_owned()),
                detail: detail.to_owned(),
            }
        };
    vec![
        refused(
            9_000,
            ["MR\u{1b}[2J", "GATEWAY", "10.0.0.8:50113"],
            "below_min_free",
            Some("A700"),
            "7 bytes are free",
        ),
        refused(
            20_000,
            ["CT1", "GATEWAY2", "10.0.0.9:1"],
            "called_ae_title",
            None,
            "this node has another AE title: \"GATEWAY\"",
        ),
    ]
}

pub(super) fn associations() -> Vec<Association> {
    let association = |id, peer: &str, title: &str, received_bytes, held_bytes| Association {
        id,
        peer: peer.to_owned(),
        calling_ae_title: title.to_owned(),
        called_ae_title: "GATEWAY".to_owned(),
        age_ms: 10_000 * id,
        quiet_ms: 12,
        received_bytes,
        held_bytes,
        acknowledged: 4 * id,
        refused: 0,
    };
    vec![
        association(3, "10.0.0.7:50112", "CT_ROOM_1", 900 * MIB, 9 * MIB),
        association(7, "10.0.0.8:50113", "MR\u{1b}[2J", 100 * MIB, 30 * MIB),
        association(9, "10.0.0.9:40000", "", 0, 0),
    ]
}

pub(super) fn writers() -> Writers {
    let writer = |index: u64, jobs: u64, last_exit: Option<&str>| Writer {
        name: format!("writer-{index}"),
        state: "running".to_owned(),
        jobs,
        busy_ms: 40 * jobs,
        quiet_ms: 0,
        instances_total: 100 * index,
        bytes_total: index << 20,
        uptime_ms: 60_000,
        restarts: u64::from(last_exit.is_some()),
        last_exit: last_exit.map(str::to_owned),
    };
    Writers {
        mailbox_depth: 5,
        mailbox_capacity: 64,
        writers: vec![writer(0, 3, None), writer(1, 0, None), writer(2, 1, Some("panicked: on purpose"))],
    }
}
