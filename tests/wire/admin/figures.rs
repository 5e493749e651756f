//! Probes and metrics: what a balancer and Prometheus read.

use std::process::{Command, Stdio};

use super::*;

/// The samples of `/metrics`: by name and labels.
fn scrape(node: &Node) -> BTreeMap<String, f64> {
    let answer = get(node.admin_address(), "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.ends_with("# EOF\n"));
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn a_node_that_serves_is_live_and_ready() {
    let mut node = Node::start(&[SURFACE]);
    assert_eq!(get(node.admin_address(), "/live").body, r#"{"status":"live"}"#);
    let answer = get(node.admin_address(), "/ready");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["ready"], true);
    let (document, description) = ("/docs/observe.md", "/src/admin/openapi.json");
    let text = |path: &str| fs::read_to_string(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let description: serde_json::Value = serde_json::from_str(&text(description)).unwrap();
    let described = &description["components"]["schemas"]["Check"]["properties"]["name"]["enum"];
    let served: Vec<_> =
        answer.json()["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(described.as_array().unwrap(), &served);
    for name in served.iter().map(|name| name.as_str().unwrap()) {
        assert!(check(&answer, name), "{answer:?}");
        assert!(text(document).contains(&format!("| `{name}` |")), "{name} is not in {document}");
    }
    assert_eq!(node.temp_files(), 0, "a look at the disk leaves nothing");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_node_down_to_its_reserve_is_not_ready_and_says_so() {
    let node = Node::start(&[SURFACE, ("TIDEGATE__STORAGE__MIN_FREE", "1000 TiB")]);
    let answer = get(node.admin_address(), "/ready");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!check(&answer, "space") && check(&answer, "storage") && check(&answer, "writers"), "{answer:?}");
    assert_eq!(scrape(&node)["tidegate_ready"], 0.0);
}

/// A filesystem of the test's own, in a directory that goes with it.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tidegate-test"]).arg(directory.path()).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("skipped: this user may not mount a filesystem");
        }
        is_mounted.then(|| Self(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Every file takes an inode: small instances use them up while there is room on the disk.
#[test]
fn a_node_whose_inodes_run_out_refuses_instances_before_the_end_and_is_not_ready() {
    let Some(mounted) = Mounted::tmpfs("size=64m,nr_inodes=320") else { return };
    // The root is a link to the filesystem, which an operator may make.
    let node = Node::start_prepared(&[SURFACE], |root| std::os::unix::fs::symlink(mounted.0.path(), root).unwrap());
    let ready = || get(node.admin_address(), "/ready");
    assert!(check(&ready(), "inodes"));
    let (mut wire, _) = Wire::associate(node.address(), request());
    let mut store = |n: u16| wire.store(n, &format!("1.2.3.{n}"), &dataset(&format!("1.2.3.{n}"), 100));
    let refused = (1..400).map(&mut store).find(|answer| answer.status != 0).unwrap();
    assert_eq!((refused.status, refused.comment.contains("inodes")), (0xA700, true), "{refused:?}");
    assert!(eventually(|| ready().status == 503));
    let answer = ready();
    assert!(!check(&answer, "inodes") && check(&answer, "space") && check(&answer, "storage"), "{answer:?}");
    let samples = scrape(&node);
    assert!((1.0..=40.0).contains(&samples["tidegate_storage_inodes_free"]), "{samples:?}");
    assert_eq!(samples["tidegate_storage_inodes_reserved"], 40.0);
    assert!(samples.iter().any(|(name, count)| name.contains("\"below_min_inodes\"") && *count >= 1.0), "{samples:?}");
    // What is taken away is free for the next instance; nothing is started anew.
    for entry in fs::read_dir(mounted.0.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.ends_with(".tidegate") {
            fs::remove_dir_all(entry).unwrap();
        }
    }
    assert_eq!(store(999).status, 0);
    assert!(eventually(|| ready().status == 200));
}

#[test]
fn a_node_whose_storage_is_gone_is_not_ready_until_it_is_back() {
    let node = Node::start(&[SURFACE]);
    let away = node.storage().with_file_name("away");
    fs::rename(node.storage(), &away).unwrap();
    assert!(eventually(|| get(node.admin_address(), "/ready").status == 503));
    let answer = get(node.admin_address(), "/ready");
    assert!(!check(&answer, "storage"), "{answer:?}");
    fs::rename(&away, node.storage()).unwrap();
    assert!(eventually(|| get(node.admin_address(), "/ready").status == 200));
}

#[test]
fn what_happens_is_counted_and_no_peer_makes_a_series() {
    let mut node = Node::start(&[SURFACE]);
    let before = scrape(&node);
    assert_eq!(before["tidegate_instances_acknowledged_total{outcome=\"new\",durability=\"fsync\"}"], 0.0);
    for title in ["CT1", "{x=\"y\"}", "MR\\7\n"] {
        let mut asking = request();
        asking.calling_ae_title = title.into();
        let (mut wire, _) = Wire::associate(node.address(), asking);
        assert_eq!(wire.store(1, "1.2.3.80", &dataset("1.2.3.80", 50_000)).status, 0);
        assert_eq!(wire.store(2, "1.2.3.81", &dataset("1.2.3.82", 50_000)).status, 0xA900);
        wire.release();
    }
    let after = scrape(&node);
    let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after), "the series are those of the program");
    for (name, value) in [
        ("tidegate_instances_acknowledged_total{outcome=\"new\",durability=\"fsync\"}", 1.0),
        ("tidegate_instances_acknowledged_total{outcome=\"identical\",durability=\"fsync\"}", 2.0),
        ("tidegate_instances_refused_total{reason=\"data_set_mismatch\",status=\"A900\"}", 3.0),
        ("tidegate_associations_accepted_total", 3.0),
        ("tidegate_receive_duration_seconds_count", 6.0),
        ("tidegate_receive_duration_seconds_bucket{le=\"+Inf\"}", 6.0),
        ("tidegate_handoff_wait_seconds_count", 3.0),
        ("tidegate_queue_wait_seconds_count", 3.0),
        ("tidegate_commit_duration_seconds_count", 3.0),
        ("tidegate_response_duration_seconds_count", 3.0),
        ("tidegate_restarts_total{group=\"writers\"}", 0.0),
        ("tidegate_writers_running", 16.0),
        ("tidegate_storage_writable", 1.0),
        ("tidegate_ready", 1.0),
    ] {
        assert_eq!(after[name], value, "{name}");
    }
    assert!(after["tidegate_received_bytes_total"] > 300_000.0);
    assert!(after["tidegate_acknowledged_bytes_total"] > 150_000.0);
    assert!(after["process_resident_memory_bytes"] > 1e6 && after["process_cpu_seconds_total"] > 0.0);
    assert!(after["process_open_fds"] > 3.0 && after["process_start_time_seconds"] > 1.7e9);
    assert!(after["tidegate_allocator_resident_bytes"] >= after["tidegate_allocator_allocated_bytes"]);
    assert!(after.len() < 400, "{} series", after.len());
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let node = Node::start(&[SURFACE]);
    let text = get(node.admin_address(), "/metrics").body;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: BTreeSet<_> =
        types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect();
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observe.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| `tidegate_") || line.starts_with("| `process_"));
    let names = rows.flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<_> = names.map(|name| name.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(served, documented);
    let labels = |name: &str, label: &str| -> BTreeSet<String> {
        let values = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        values
            .map(|line| line.split(&format!("{label}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned())
            .collect()
    };
    for (name, label) in [
        ("tidegate_instances_refused_total", "reason"),
        ("tidegate_associations_rejected_total", "reason"),
        ("tidegate_memory_leased_bytes", "stage"),
        ("tidegate_restarts_total", "group"),
        ("tidegate_datasets_spooled_total", "reason"),
        ("tidegate_cgroup_memory_events_total", "event"),
        ("tidegate_pressure_stalled_seconds_total", "resource"),
    ] {
        for value in labels(name, label) {
            assert!(document.contains(&format!("`{value}`")), "{label} {value} is not documented");
        }
    }
}
