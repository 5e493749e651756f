use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::compose::statistics_interval;
use super::human::{PeriodOrAuto, PeriodOrOff};
use super::problem::Problem;
use super::*;
use crate::admin::SocketPath;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    from_text(None, Some((Path::new("t.toml"), text)), environment(variables), &Flags::default())
}

/// The problems as `key = value: complaint`, and their origins.
fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    match load_text(text, variables) {
        Err(ConfigError::Invalid(problems)) => problems
            .into_iter()
            .map(|Problem { key, value, origin, complaint, .. }| (format!("{key} = {value}: {complaint}"), origin))
            .collect(),
        other => panic!("no list of problems but {other:?}"),
    }
}

#[test]
fn nothing_given_is_the_defaults() {
    let loaded = load(None, environment(&[]), &Flags::default()).unwrap();
    assert_eq!(loaded.raw, Raw::default());
    let node = loaded.settings.node;
    assert_eq!(node.live.associations.policy.ae_title, "TIDEGATE");
    assert_eq!(node.listen, Some("0.0.0.0:11112".parse().unwrap()));
    assert!((64 << 20..=2 << 30).contains(&node.live.memory_budget_bytes), "{}", node.live.memory_budget_bytes);
    assert_eq!(node.live.associations.max_per_calling_ae, None);
    assert_eq!(node.live.associations.policy.max_pdu_length, 131_072);
    assert_eq!(loaded.settings.admin.unwrap().listen, "127.0.0.1:9112".parse().unwrap());
}

#[test]
fn each_source_wins_over_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.toml");
    let text = "[node]\nae_title = 'FILE'\nlisten = '127.0.0.1:1'\n[storage]\nroot = 'file'\n[writers]\ncount = 3\n";
    std::fs::write(&path, text).unwrap();
    let variables = [("TIDEGATE__NODE__AE_TITLE", "ENV"), ("TIDEGATE__NODE__LISTEN", "127.0.0.1:2")];
    let flags = Flags { ae_title: Some("FLAG".to_owned()), ..Flags::default() };

    let loaded = load(Some(&path), environment(&variables), &flags).unwrap();

    assert_eq!(loaded.settings.node.live.associations.policy.ae_title, "FLAG");
    assert_eq!(loaded.settings.node.listen.unwrap().port(), 2);
    assert_eq!(loaded.settings.node.storage.root, std::path::absolute("file").unwrap());
    assert_eq!(loaded.settings.node.writers, 3);
    assert_eq!(loaded.settings.node.live.writers.batch, 16);
}

#[test]
fn variables_take_the_type_of_their_key() {
    let loaded = load_text(
        "[associations]\ntransfer_syntax_preference = ['1.2.3']\n",
        &[
            ("TIDEGATE__NODE__AE_TITLE", "0123"),
            ("TIDEGATE__NODE__REQUIRE_CALLED_AE_TITLE", "true"),
            ("TIDEGATE__ASSOCIATIONS__MAX", "7"),
            ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "5"),
            ("TIDEGATE__ASSOCIATIONS__TRANSFER_SYNTAX_PREFERENCE", "1.2.840.10008.1.2.4.90, 1.2.840.10008.1.2"),
            ("TIDEGATE__MEMORY__BUDGET", "1073741824"),
            ("TIDEGATE__LOG__STATISTICS_INTERVAL", "off"),
            ("TIDEGATE_PORT", "not ours"),
        ],
    )
    .unwrap();
    let node = loaded.settings.node;
    assert_eq!(node.live.associations.policy.ae_title, "0123");
    assert!(node.live.associations.policy.require_called_ae_title);
    assert_eq!(node.live.associations.max, 7);
    assert_eq!(node.live.associations.max_per_address, Some(5));
    assert_eq!(
        node.live.associations.policy.transfer_syntax_preference,
        ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"]
    );
    assert_eq!(node.live.memory_budget_bytes, 1 << 30);
    assert_eq!(node.live.statistics_interval, None);
}

#[test]
fn every_mistake_is_told_with_key_value_place_and_what_is_allowed() {
    let text = "[node]\nae_tilte = 'X'\nae_title = ''\nlisten = 'here'\n[writers]\ncount = 2.5\nbatch = 0\n\
                [memory]\nbudget = 'lots'\n[storage]\nlayout = 'all.dcm'\nduplicates = 'maybe'\nfile_mode = '0755'\n[nodes]\n";
    let variables = [("TIDEGATE__ASSOCIATIONS__MAX", "many"), ("TIDEGATE__LOG__LEVL", "debug")];
    let expected = [
        ("associations.max = \"many\": must be a whole number", "environment variable TIDEGATE__ASSOCIATIONS__MAX"),
        ("log.levl = \"debug\": unknown key; did you mean log.level?", "environment variable TIDEGATE__LOG__LEVL"),
        (
            "memory.budget = \"lots\": must be \"auto\", a size such as \"512 MiB\" or \"64 KiB\", or a whole number of bytes",
            "t.toml:9",
        ),
        ("node.ae_tilte = \"X\": unknown key; did you mean node.ae_title?", "t.toml:2"),
        ("node.ae_title = \"\": must be 1 to 16 characters of printable ASCII without backslash", "t.toml:3"),
        (
            "node.listen = \"here\": must be \"off\" or an IP address and a port, such as 0.0.0.0:11112 or [::]:11112 (port 0 picks a free one)",
            "t.toml:4",
        ),
        ("nodes = {}: unknown key; `tidegate print-config --default` shows every key", "t.toml"),
        ("storage.duplicates = \"maybe\": must be \"keep-both\" or \"replace\" or \"refuse\"", "t.toml:12"),
        (
            "storage.file_mode = \"0755\": must be \"auto\" or an octal mode from \"0600\" to \"0664\": readable and writable by the node, \
             not executable, not writable by everybody",
            "t.toml:13",
        ),
        ("writers.batch = 0: must be 1 to 256", "t.toml:7"),
        ("writers.count = 2.5: must be a whole number", "t.toml:6"),
    ];

    let mut found = problems(text, &variables);

    let layout = found.iter().position(|(found, _)| found.starts_with("storage.layout = \"all.dcm\": "));
    assert_eq!(found.remove(layout.unwrap()).1, "t.toml:11");
    let expected = expected.map(|(found, origin)| (found.to_owned(), origin.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn a_refusal_names_the_word_that_is_allowed_and_means_the_list_that_is_empty() {
    let found = problems("[completeness]\nwait_for_missing = '0s'\n", &[]);
    assert_eq!(found[0].0, "completeness.wait_for_missing = \"0s\": must be \"off\" or 1s to 7days");
    let found = problems("[[sink]]\nname = 'bus'\nkind = 'nats'\nurl = 'nats://a'\nevents = []\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    let (text, place) = &found[0];
    assert!(text.starts_with("sink = []: names no event") && text.contains("[\"study.complete\"]"), "{text}");
    assert_eq!(place, "t.toml:5");
}

#[test]
fn two_surfaces_have_two_ports() {
    let text = |node, admin| format!("[node]\nlisten = '{node}'\n[admin]\nlisten = '{admin}'\n");
    for node in ["127.0.0.1:11112", "0.0.0.0:11112", "[::]:11112"] {
        let found = problems(&text(node, "127.0.0.1:11112"), &[]);
        let names = |text: &str| text.starts_with("admin.listen") && text.contains("port of node.listen");
        assert!(found.iter().any(|(text, _)| names(text)), "{found:?}");
    }
    assert!(load_text(&text("127.0.0.1:0", "127.0.0.1:0"), &[]).is_ok());
    assert!(load_text(&text("127.0.0.2:11112", "127.0.0.1:11112"), &[]).is_ok());
}

#[test]
fn the_admin_socket_follows_the_storage_root() {
    let socket = |text: &str| load_text(text, &[]).unwrap().settings.admin_socket;
    assert_eq!(socket(""), Some(SocketPath::Of(std::path::absolute("data").unwrap())));
    assert_eq!(socket("[storage]\nroot = '/srv/dicom'\n"), Some(SocketPath::Of("/srv/dicom".into())));
    assert_eq!(socket("[admin]\nsocket = 'off'\n"), None);
    assert_eq!(socket("[admin]\nsocket = '/run/tidegate.sock'\n"), Some(SocketPath::At("/run/tidegate.sock".into())));
    for refused in [String::new(), "x".repeat(108)] {
        let found = problems(&format!("[admin]\nsocket = '{refused}'\n"), &[]);
        assert!(found[0].0.ends_with("must be \"auto\", \"off\" or a path of at most 107 bytes"), "{found:?}");
    }
}

#[test]
fn a_key_in_the_wrong_section_is_found() {
    let found = problems("[memory]\nmin_free = '1 GiB'\n", &[]);
    assert_eq!(found[0].0, "memory.min_free = \"1 GiB\": unknown key; did you mean storage.min_free?");
    let found = problems("node = 5\n", &[]);
    assert_eq!(found[0].0, "node = 5: is a section, not a value: write its keys under [node]");
}

#[test]
fn a_removed_key_is_told_with_what_to_do() {
    let text = "[associations]\nmax_contexts = 128\n[storage]\ncommit = 'shared'\n";
    let found = problems(text, &[("TIDEGATE__ADMIN__TOKEN", "0123456789abcdef")]);
    let found: Vec<_> = found.iter().map(|(found, origin)| (found.as_str(), origin.as_str())).collect();
    let [(token, from), (contexts, line), (commit, _)] = found[..] else { panic!("{found:?}") };
    assert!(
        token.starts_with("admin.token = (masked): no longer a key") && token.contains("set admin.token_file"),
        "{token}"
    );
    assert_eq!(from, "environment variable TIDEGATE__ADMIN__TOKEN");
    assert!(
        contexts.starts_with("associations.max_contexts = 128: no longer a key") && contexts.ends_with("delete it")
    );
    assert_eq!(line, "t.toml:2");
    assert!(commit.starts_with("storage.commit = \"shared\": no longer a strategy"), "{commit}");
    for (key, _) in removed::REMOVED {
        let (section, name) = key.split_once('.').unwrap();
        let found = problems(&format!("[{section}]\n{name} = 1\n"), &[]);
        assert!(found.len() == 1 && found[0].0.contains(": no longer a key"), "{found:?}");
    }
}

#[test]
fn values_of_another_type_are_refused() {
    for (line, complaint) in [
        ("[node]\nae_title = 5", "must be a quoted string"),
        ("[node]\nrequire_called_ae_title = 'yes'", "must be true or false"),
        ("[writers]\ncount = '8'", "must be a whole number"),
        ("[writers]\ncount = 99999999999999999999", "must be a whole number"),
        ("[memory]\nbudget = -1", "must be \"auto\", a size such as"),
        ("[writers]\nhandoff_timeout = 30", "must be a duration with its unit"),
        ("[associations]\nmax_per_address = true", "must be a quoted string or a whole number"),
        ("[associations]\ntransfer_syntax_preference = '1.2'", "must be a list of strings"),
        ("[associations]\ntransfer_syntax_preference = ['1.02']", "must be transfer syntax UIDs"),
        ("[node]\nlisten = 'localhost:104'", "must be \"off\" or an IP address and a port"),
    ] {
        let found = problems(line, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains(complaint), "{line}: {found:?}");
    }
}

#[test]
fn sums_name_both_values_and_the_way_out() {
    let found = problems("[associations]\nmax = 2000\n[memory]\nbudget = '64 MiB'\nspool_threshold = '32 MiB'\n", &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    for part in ["associations.max = 2000", "at least \"69 MiB\"", "at most 1856"] {
        assert!(found[0].0.contains(part), "{part} not in {}", found[0].0);
    }
    for part in ["memory.spool_threshold = \"32 MiB\"", "memory.budget = \"64 MiB\"", "at most \"16 MiB\""] {
        assert!(found[1].0.contains(part), "{part} not in {}", found[1].0);
    }
    // The value that the refusal asks for is accepted.
    load_text("[associations]\nmax = 1856\n[memory]\nbudget = '64 MiB'\n", &[]).unwrap();
    load_text("[associations]\nmax = 2000\n[memory]\nbudget = '69 MiB'\n", &[]).unwrap();
}

#[test]
fn a_sum_is_not_told_of_a_value_that_is_wrong_itself() {
    let found = problems("[associations]\nmax = 9000\n[memory]\nbudget = 'lots'\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn files_that_are_missing_or_no_toml_are_told_by_name() {
    let path = Path::new("/nowhere/t.toml");
    let error = load(Some(path), environment(&[]), &Flags::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the configuration file /nowhere/t.toml: "), "{error}");
    let error = load_text("[node]\nae_title = \n", &[]).unwrap_err().to_string();
    assert!(error.starts_with("t.toml is not valid TOML\n  t.toml:2: "), "{error}");
}

#[test]
fn what_is_printed_reads_back() {
    let text = "[node]\nae_title = 'A \"B\"'\nlisten = '[::1]:0'\n[associations]\nmax_per_address = 3\n\
                transfer_syntax_preference = ['1.2.3', '1.2.4']\n[memory]\nbudget = '1.5 GB'\n\
                [log]\nstatistics_interval = 'off'\n[writers]\nhandoff_timeout = '1500ms'\n";
    let raw = load_text(text, &[]).unwrap().raw;
    let printed = toml::to_string(&raw).unwrap();
    assert!(printed.contains("budget = \"1500 MB\"") && printed.contains("handoff_timeout = \"1s 500ms\""));
    assert_eq!(load_text(&printed, &[]).unwrap().raw, raw);
}

#[test]
fn a_budget_beyond_the_machine_is_refused_with_the_way_out() {
    let found = problems("[memory]\nbudget = '900 TiB'\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0.contains("exceeds the available memory") && found[0].0.contains("lower memory.budget"),
        "{found:?}"
    );
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A certificate, its key, and the directory they are in.
fn certificate() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap().self_signed(&key).unwrap();
    let [certificate_file, key_file] = ["c.pem", "k.pem"].map(|name| directory.path().join(name));
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    write_secret(&key_file, &key.serialize_pem());
    let keys = format!("tls_certificate = '{}'\ntls_key = '{}'\n", certificate_file.display(), key_file.display());
    (directory, keys)
}

#[test]
fn a_surface_that_others_can_reach_must_ask_who_they_are_and_not_in_clear_text() {
    let (directory, tls) = certificate();
    let tls = tls.as_str();
    let token_file = directory.path().join("token");
    write_secret(&token_file, "0123456789abcdef");
    let token = &*format!("token_file = '{}'\n", token_file.display());
    let client_ca = &*format!("tls_client_ca = '{}'\n", directory.path().join("c.pem").display());
    for listen in ["0.0.0.0:9112", "[::]:9112", "192.0.2.1:9112"] {
        let admin = |keys: &[&str]| format!("[admin]\nlisten = '{listen}'\n{}", keys.concat());
        for nothing_asked in [&[][..], &[tls]] {
            let found = problems(&admin(nothing_asked), &[]);
            assert!(
                found[0].0.contains("set admin.tls_certificate and admin.tls_key, and admin.token_file"),
                "{found:?}"
            );
        }
        let found = problems(&admin(&[token]), &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0.contains("would travel in clear text: set admin.tls_certificate"), "{found:?}");
        for asked in [&[token, tls][..], &[tls, client_ca], &[token, tls, client_ca]] {
            let door = load_text(&admin(asked), &[]).unwrap().settings.admin.unwrap().door;
            assert_eq!((door.token.is_some(), door.tls.is_some()), (asked.contains(&token), true));
        }
    }
    for listen in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:9112", "off"] {
        for keys in ["", token, tls] {
            load_text(&format!("[admin]\nlisten = '{listen}'\n{keys}"), &[]).unwrap();
        }
    }
}

#[test]
fn a_token_is_read_from_its_file_and_never_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    write_secret(&file, "  0123456789abcdef\n");
    let text = format!("[admin]\ntoken_file = '{}'\n", file.display());
    let settings = load_text(&text, &[]).unwrap().settings.admin.unwrap();
    assert_eq!(settings.door.token.as_deref(), Some("0123456789abcdef"));
    assert!(!format!("{settings:?}").contains("0123456789abcdef"));
    std::fs::write(&file, "too short").unwrap();
    let found = problems(&text, &[]);
    assert!(found[0].0.contains(": must hold 16 to 256 characters") && !found[0].0.contains("too short"), "{found:?}");
    for line in ["token = 1234567812345678", "token = 'too short'", "tokn = 'too short'"] {
        let found = problems(&format!("[admin]\n{line}\n"), &[]);
        assert!(found[0].0.contains(" = (masked): "), "{found:?}");
    }
    let found = problems("[admin]\ntoken_file = '/nowhere/token'\n", &[]);
    assert!(found[0].0.contains("cannot be read: "), "{found:?}");
}

#[test]
fn the_files_of_the_surface_are_read_and_one_that_is_missing_is_named_by_its_key() {
    let (_directory, tls) = certificate();
    for (keys, expected) in [
        ("tls_certificate = '/nowhere/c.pem'\n".to_owned(), &["admin.tls_certificate", "admin.tls_key"][..]),
        (format!("{tls}tls_client_ca = '/nowhere/a.pem'\n"), &["admin.tls_client_ca"]),
        (tls.replace("tls_key", "tls_client_ca"), &["admin.tls_client_ca", "admin.tls_key"]),
    ] {
        let found = problems(&format!("[admin]\n{keys}"), &[]);
        let keys: Vec<_> = found.iter().map(|(found, _)| found.split(" = ").next().unwrap()).collect();
        assert_eq!(keys, expected, "{found:?}");
    }
}

#[test]
fn a_terminal_gets_the_statistics_line_only_if_it_is_asked_for() {
    let asked = PeriodOrAuto::Given(PeriodOrOff(Some(Duration::from_secs(3))));
    let off = PeriodOrAuto::Given(PeriodOrOff(None));
    for (interval, is_terminal, expected_s) in [
        (PeriodOrAuto::Auto, false, Some(10)),
        (PeriodOrAuto::Auto, true, None),
        (asked, true, Some(3)),
        (asked, false, Some(3)),
        (off, false, None),
    ] {
        assert_eq!(statistics_interval(interval, is_terminal), expected_s.map(Duration::from_secs));
    }
}
