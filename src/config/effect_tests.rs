//! Values that can never have an effect: each is refused, with key, value, cause and remedy, or at least warned of.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::problem::Problem;
use super::*;

/// A directory with a certificate and its key, and a `[tls]` section that serves them.
fn tls_section(client_auth: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap().self_signed(&key).unwrap();
    let [certificate_file, key_file] = ["c.pem", "k.pem"].map(|name| directory.path().join(name));
    fs::write(&certificate_file, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
    let section = format!(
        "[tls]\nlisten = '127.0.0.1:0'\ncertificate = {certificate_file:?}\nkey = {key_file:?}\nclient_auth = '{client_auth}'\n\
         client_ca = {certificate_file:?}\n"
    );
    (directory, section)
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let environment = Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())));
    from_text(None, Some((Path::new("t.toml"), text)), environment, &Flags::default())
}

fn refused(text: &str, variables: &[(&str, &str)]) -> Vec<Problem> {
    match read(text, variables) {
        Err(ConfigError::Invalid(problems)) => problems,
        other => panic!("{text}: {other:?}"),
    }
}

fn rule(lines: &str) -> String {
    format!("[[access]]\nname = 'a'\naction = 'deny'\n{lines}\n")
}

#[test]
fn a_criterion_that_no_peer_can_meet_is_refused_with_what_to_do() {
    let (_directory, tls) = tls_section("required");
    for (lines, cause, remedy) in [
        ("calling = ['CT1 ']", "can never match", "no spaces at its ends"),
        ("calling = ['ABCDEFGHIJKLMNOPQ']", "can never match", "at most 16"),
        ("called = ['a\\b']", "can never match", "no backslash"),
        ("calling = ['']", "a criterion is empty", "leave it out"),
        ("calling = []", "would match every peer", "leave it out"),
        (
            "from = ['10.1.2.3/8']",
            "bits set beyond its prefix",
            "write \"10.0.0.0/8\" for the network, or \"10.1.2.3\"",
        ),
        ("from = ['0.0.0.0']", "can never match", "is no peer's address"),
        ("from = ['ct1.example']", "is not a network", "such as \"10.0.0.0/8\""),
        ("certificate = ['URI:ct']", "can never match", "begins with its scheme"),
        ("certificate = ['IP:10.1.2.3/8']", "can never match", "write \"10.0.0.0/8\""),
        ("certificate = ['*CN=ct*']", "\"*CN\" is not the name of an attribute", "write \"CN=ct*\""),
        ("sop_class = ['CTImageStorrage']", "can never match", "did you mean \"CTImageStorage\"?"),
        ("sop_class = ['ctimagestorage']", "can never match", "did you mean \"CTImageStorage\"?"),
        ("sop_class = ['*Nonsense*']", "can never match", "no storage SOP class"),
        ("sop_class = ['1.2.840.10008.5.1.4.1.1.22']", "no such storage SOP class", "\"1.2.840.10008.5.1.4.1.1.22*\""),
        ("sop_class = ['1.2.840.10008.1.1']", "can never match", "C-ECHO"),
        ("sop_class = ['1.2.840.10008.5.1.4.1.2.1.1']", "can never match", "stores no instances"),
        ("sop_class = ['1.2.840.113619.']", "it is no UID", "single dots"),
        ("calld = ['X']", "unknown key of a rule", "did you mean called?"),
        ("sopclass = ['X']", "unknown key of a rule", "did you mean sop_class?"),
        ("zzz = ['X']", "unknown key of a rule", "it has name, action, calling,"),
    ] {
        let found = refused(&format!("{tls}{}", rule(lines)), &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        let told = found[0].to_string();
        let key = lines.split(" = ").next().unwrap();
        assert!(told.starts_with(&format!("[[access]] 1 (\"a\"): {key} = [")), "{told}");
        let line = 1 + tls.lines().count() + 3;
        assert!(told.contains(&format!(" (t.toml:{line}): ")), "the line of the key: {told}");
        assert!(told.contains(cause) && told.contains(remedy), "{lines}: {told}");
    }
    for lines in [
        "sop_class = ['CTImageStorage', '*SRStorage', '1.2.840.113619.*', '1.3.12.2.1107.5.9.1', '1.2.840.10008.5.1.4.1.1.999*']",
        "certificate = ['URI:spiffe://hospital.example/*', '*']",
        "from = ['10.0.0.0/8', '::1']",
    ] {
        read(&format!("{tls}{}", rule(lines)), &[]).unwrap();
    }
}

#[test]
fn a_criterion_that_another_key_makes_impossible_is_refused_and_names_the_key() {
    let (_directory, tls) = tls_section("none");
    let known_only = "[associations]\naccept_unknown_sop_classes = false\n";
    for (before, lines, key) in [
        ("", "certificate = ['CN=ct1']", "set tls.listen"),
        (&tls, "certificate = ['CN=ct1']", "tls.client_auth = \"none\""),
        (known_only, "sop_class = ['1.2.840.113619.*']", "associations.accept_unknown_sop_classes = false"),
        ("[node]\nrequire_called_ae_title = true\n", "called = ['OTHER']", "node.ae_title = \"TIDEGATE\""),
    ] {
        let told = refused(&format!("{before}{}", rule(lines)), &[]);
        assert!(told.len() == 1 && told[0].to_string().contains(key), "{told:?}");
    }
    let all = "[[access]]\nname = 'all'\naction = 'allow'\n";
    let same = rule("calling = ['X']").replace("'a'", "'same'");
    for (rules, why) in [
        (
            format!("{all}{}", rule("calling = ['X']")),
            "[[access]] 2 (\"a\") (t.toml:4): can never decide, because rule 1 (\"all\") before it has no criteria",
        ),
        (format!("{same}{}", rule("calling = ['X']")), "because rule 1 (\"same\") before it has the same criteria"),
    ] {
        let told = refused(&rules, &[]);
        assert!(told.len() == 1 && told[0].to_string().contains(why), "{told:?}");
    }
}

#[test]
fn every_mistake_in_every_rule_is_told_at_once() {
    let text = format!(
        "{}{}{}",
        rule("calling = ['CT1 ']\nfrom = ['10.1.2.3/8']"),
        rule("sop_class = ['Nothing']").replace("'a'", "'b'"),
        rule("calld = ['X']\nfrom = ['nowhere']\nmax_associations = 'many'").replace("'a'", "'c'"),
    );
    let told: Vec<_> = refused(&text, &[]).iter().map(ToString::to_string).collect();
    for part in [
        "[[access]] 1 (\"a\"): calling = [\"CT1 \"] (t.toml:4): \"CT1 \" can",
        "[[access]] 1 (\"a\"): from = [\"10.1.2.3/8\"] (t.toml:5): \"10.1.2.3/8\"",
        "[[access]] 2 (\"b\"): sop_class = [\"Nothing\"] (t.toml:9): \"Nothing\"",
        "[[access]] 3 (\"c\"): calld = [\"X\"] (t.toml:13): unknown key",
        "[[access]] 3 (\"c\"): max_associations = \"many\" (t.toml:15): must be a whole number",
        "[[access]] 3 (\"c\"): from = [\"nowhere\"] (t.toml:14): \"nowhere\"",
    ] {
        assert_eq!(told.iter().filter(|told| told.contains(part)).count(), 1, "{part}: {told:#?}");
    }
    assert_eq!(told.len(), 6);
}

#[test]
fn a_rule_that_can_never_decide_is_told_together_with_the_other_mistakes() {
    let all = "[[access]]\nname = 'all'\naction = 'allow'\nduplicates = 'maybe'\n";
    let wrong = rule("calling = ['CT1 ']").replace("'a'", "'wrong'");
    let hidden = rule("calling = ['X']").replace("'a'", "'hidden'");
    let told: Vec<_> =
        refused(&format!("[writers]\ncount = 0\n{all}{wrong}{hidden}"), &[]).iter().map(ToString::to_string).collect();
    let expected = [
        "[[access]] 1 (\"all\"): duplicates = \"maybe\" (t.toml:6): ",
        "[[access]] 2 (\"wrong\"): calling = [\"CT1 \"] (t.toml:10): ",
        "[[access]] 3 (\"hidden\") (t.toml:11): can never decide, because rule 1 (\"all\") before it",
        "writers.count = 0 (t.toml:2): must be 1 to 256",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    assert!(told.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{told:#?}");
}

#[test]
fn the_layouts_of_two_rules_that_meet_are_told_as_that_of_one_rule_and_its_line() {
    let rule = |name, layout| {
        format!("[[access]]\nname = '{name}'\naction = 'allow'\ncalling = ['{name}']\nlayout = '{layout}'\n")
    };
    let rules = rule("A", "{StudyInstanceUID}/{SOPInstanceUID}") + &rule("B", "{PatientID}/{SOPInstanceUID}");
    let told = refused(&rules, &[]);
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    let expected = "[[access]] 1 (\"A\"): layout = \"{StudyInstanceUID}/{SOPInstanceUID}\" (t.toml:5): could give two \
                    instances the same path as the layout of rule 2 (\"B\", {PatientID}/{SOPInstanceUID})";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
}

#[test]
fn rules_in_single_brackets_are_told_once_with_the_right_ones() {
    for text in ["[access]\nname = 'a'\naction = 'deny'\n", "access = [1]\n"] {
        let told = refused(text, &[]);
        assert!(told.len() == 1 && told[0].to_string().contains("a line [[access]] of its own"), "{told:?}");
    }
}

#[test]
fn keys_of_the_surface_and_of_users_that_could_have_no_effect_are_refused() {
    let (directory, tls) = tls_section("required");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("token"), "0123456789abcdef").unwrap();
    fs::write(path("users"), "# nobody yet\n").unwrap();
    for file in ["token", "users"] {
        fs::set_permissions(path(file), Permissions::from_mode(0o600)).unwrap();
    }
    let admin = |lines: &str| {
        let (certificate, key) = (path("c.pem"), path("k.pem"));
        format!(
            "[admin]\ntls_certificate = {certificate:?}\ntls_key = {key:?}\ntls_client_ca = {certificate:?}\n{lines}\n"
        )
    };
    for (text, key, cause) in [
        (admin("tls_client_operators = ['CN=ali*']"), "admin.tls_client_operators", "patterns have no effect here"),
        (
            admin("tls_client_operators = ['DNS:*.example']"),
            "admin.tls_client_operators",
            "patterns have no effect here",
        ),
        (admin("tls_client_operators = ['DNS:a..b']"), "admin.tls_client_operators", "can never match"),
        (admin("tls_client_operators = ['CN=a, O=b']"), "admin.tls_client_operators", "can never match"),
        (admin("tls_client_operators = ['alice']"), "admin.tls_client_operators", "must be CN=name"),
        (
            admin(&format!("tls_client_operators = ['CN=alice']\ntoken_file = {:?}", path("token"))),
            "admin.tls_client_operators",
            "has no effect with admin.token_file",
        ),
        (
            "[admin]\ntls_client_operators = ['CN=alice']".to_owned(),
            "admin.tls_client_operators",
            "set admin.tls_client_ca",
        ),
        ("[admin]\ntls_client_crls = ['x']".to_owned(), "admin.tls_client_crls", "set admin.tls_client_ca"),
        (format!("[user_identity]\nfile = {:?}", path("users")), "user_identity.file", "has no users"),
        ("[user_identity]\nrequired = true".to_owned(), "user_identity.required", "requires user_identity.file"),
        (
            "[node]\nproxy_protocol_from = ['10.1.2.3/8']".to_owned(),
            "node.proxy_protocol_from",
            "bits set beyond its prefix",
        ),
        (
            "[associations]\ntransfer_syntax_preference = ['1.2.840.10008.5.1.4.1.1.2']".to_owned(),
            "associations.transfer_syntax_preference",
            "is no transfer syntax",
        ),
        (tls.replace("client_ca", "#"), "tls.client_ca", "must be the path"),
    ] {
        let told = refused(&text, &[]);
        assert!(told.len() == 1 && told[0].key == key && told[0].complaint.contains(cause), "{text}: {told:?}");
    }
}

#[test]
fn what_may_be_meant_for_later_is_warned_of() {
    let (_directory, tls) = tls_section("none");
    let off = tls.replace("127.0.0.1:0", "off");
    let limit = "[associations]\nmax = 5\n[[access]]\nname = 'a'\naction = 'allow'\nmax_associations = 6\n";
    for (text, keys) in [
        (&*tls, &["tls.client_ca"][..]),
        (&off, &["tls.certificate", "tls.client_ca"]),
        ("[audit]\nca = 'ca.pem'\n", &["audit.ca"]),
        ("[admin]\nlisten = 'off'\ntls_certificate = ''\n", &[]),
        (limit, &["[[access]] 1 (\"a\"): max_associations"]),
        ("", &[]),
    ] {
        let warnings = read(text, &[]).unwrap().settings.warnings;
        let named: Vec<_> = warnings.iter().map(|warning| warning.split(" = ").next().unwrap()).collect();
        assert_eq!(named, keys, "{warnings:?}");
    }
}

#[test]
fn a_variable_with_single_underscores_is_refused_with_the_right_name() {
    for (variable, right) in [
        ("TIDEGATE_NODE_AE_TITLE", "TIDEGATE__NODE__AE_TITLE"),
        ("TIDEGATE_NODE__AE_TITLE", "TIDEGATE__NODE__AE_TITLE"),
        ("TIDEGATE_STORAGE_ROOT", "TIDEGATE__STORAGE__ROOT"),
        ("TIDEGATE_ADMIN_TOKEN", "admin.token_file"),
    ] {
        let told: Vec<_> = refused("", &[(variable, "secret")]).iter().map(ToString::to_string).collect();
        assert!(told.len() == 1 && told[0].contains(right) && !told[0].contains("secret"), "{told:?}");
    }
    // A service of Kubernetes, and tools.
    for variable in ["TIDEGATE_SERVICE_HOST", "TIDEGATE_PORT", "TIDEGATE_PORT_104_TCP", "TIDEGATE_ADMIN_PORT"] {
        read("", &[(variable, "x")]).unwrap();
    }
}

#[test]
fn a_users_file_that_everybody_can_read_is_warned_of_and_one_that_others_write_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, tidegate_access::users::line("ct1", b"sesame").unwrap()).unwrap();
    let text = format!("[user_identity]\nfile = {:?}\n", file.path());
    for (mode, warned, is_refused) in
        [(0o600, 0, false), (0o440, 0, false), (0o640, 0, false), (0o644, 1, false), (0o660, 0, true), (0o666, 0, true)]
    {
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        if is_refused {
            assert!(refused(&text, &[])[0].complaint.contains(&format!("has mode {mode:04o}")));
        } else {
            assert_eq!(read(&text, &[]).unwrap().settings.warnings.len(), warned, "{mode:o}");
        }
    }
}

#[test]
fn the_file_of_the_catalogue_is_no_instance_and_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).display().to_string();
    for (path, cause, remedy) in [
        (String::new(), "must be \"auto\", \"off\"", "the path of a file"),
        (place("root/c.sqlite"), "must be outside storage.root", "\"auto\""),
        (place("root/.tidegate/c.sqlite"), "must be outside storage.root", "\"auto\""),
        (place("missing/c.sqlite"), "does not exist", "create it, writable for the node's user"),
        (place("audit"), "names the file of audit.sink", "name another file"),
    ] {
        let text = format!(
            "[storage]\nroot = {:?}\n[audit]\nsink = {:?}\n[catalogue]\npath = {path:?}\n",
            place("root"),
            format!("file:{}", place("audit"))
        );
        let found = refused(&text, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        let told = found[0].to_string();
        assert!(told.starts_with("catalogue.path = ") && told.contains(cause) && told.contains(remedy), "{told}");
    }
    // SQLite's own name of the log of the file.
    let text =
        format!("[catalogue]\npath = {:?}\n[audit]\nsink = {:?}\n", place("c"), format!("file:{}", place("c-wal")));
    assert!(refused(&text, &[])[0].to_string().contains("kept beside it"));
    assert!(read(&format!("[catalogue]\npath = {:?}\n", place("c.sqlite")), &[]).is_ok());
    assert!(read("[catalogue]\npath = 'off'\n", &[]).is_ok());
}

#[test]
fn a_peer_that_could_not_be_called_is_refused_with_what_to_do() {
    let peer = |lines: &str| format!("[[peer]]\n{lines}\n");
    for (text, remedy) in [
        (peer("address = 'ct1:104'"), "is missing: give the peer its AE title"),
        (peer("ae_title = 'CT1'"), "is missing: give the peer the HOST:PORT"),
        (peer("ae_title = 'CT1'\naddress = 'ct1'"), "must be HOST:PORT"),
        (peer("ae_title = 'ABCDEFGHIJKLMNOPQ'\naddress = 'ct1:104'"), "must be 1 to 16 characters"),
        (peer("ae_title = 'CT1'\naddress = 'ct1:104'\ntls = true"), "requires tls.client_ca"),
        (peer("ae_title = 'CT1'\naddress = 'ct1:104'\ntls = 'yes'"), "must be true or false"),
        (peer("ae_title = 'CT1'\nadress = 'ct1:104'"), "did you mean address?"),
        ("peer = 'CT1'".to_owned(), "peers must be written as tables"),
        ("[peer]\nae_title = 'CT1'".to_owned(), "peers must be written as tables"),
        ("[commitment]\ncommit_when = ['archive']".to_owned(), "\"archive\" is no destination"),
        ("[commitment]\nverify = 'crc'".to_owned(), "must be \"size\" or \"digest\""),
        (rule("commitment = true"), "a deny rule cannot have it"),
    ] {
        let problems = refused(&text, &[]);
        assert!(problems.iter().any(|problem| problem.to_string().contains(remedy)), "{text}: {problems:?}");
    }
    let one = peer("ae_title = 'CT1'\naddress = 'ct1:104'");
    assert!(refused(&format!("{one}{one}"), &[])[0].to_string().contains("is the AE title of peer 1 before it"));
    let (_directory, tls) = tls_section("none");
    let text = format!("{tls}{}", peer("ae_title = 'CT1'\naddress = '[::1]:104'\ntls = true"));
    let settings = read(&text, &[]).unwrap().settings;
    let commitment = &settings.node.live.commitment;
    assert!(commitment.tls.is_some() && commitment.is_enabled && settings.warnings.is_empty());
    assert_eq!((commitment.peers[0].host.as_str(), commitment.peers[0].port), ("::1", 104));
}

#[test]
fn a_destination_that_nothing_could_be_delivered_to_is_refused_with_what_to_do() {
    let destination =
        |lines: &str| format!("[[destination]]\nname = 'a'\naddress = 'archive:104'\ncalled = 'A'\n{lines}\n");
    for (text, remedy) in [
        ("[[destination]]\nname = 'a'\ncalled = 'A'".to_owned(), "is missing: give the destination the HOST:PORT"),
        ("[[destination]]\nname = 'a'\naddress = 'x:1'".to_owned(), "is missing: give the destination its AE title"),
        (destination("kind = 'stow'"), "is not there yet"),
        (destination("kind = 'ftp'"), "must be \"dicom\""),
        (destination("connections = 0"), "must be 1 to 32, and not 0"),
        (destination("connections = '2'"), "must be a whole number"),
        (destination("attempts = 0"), "must be 1 to 1000"),
        (destination("priority = 1001"), "must be -1000 to 1000"),
        (destination("bandwidth = '10 B'"), "must be \"off\" or a size for each second"),
        (destination("hours = '20-6'"), "two different times of the day"),
        (destination("retry_for = '10s'"), "from 1m to 365days"),
        (destination("calling = ''"), "must be 1 to 16 characters"),
        (destination("tls = true"), "requires tls.client_ca"),
        (destination("conections = 2"), "did you mean connections?"),
        (destination("").replace("'a'", "'a b'"), "must be 1 to 32 letters"),
        (destination("").replace("archive:104", "localhost:11112"), "is that of this node itself (node.listen)"),
        (format!("{0}{0}", destination("")), "is the name of destination 1 before it"),
        (format!("[catalogue]\npath = 'off'\n{}", destination("")), "needs the catalogue"),
        ("[delivery]\nto = ['a']".to_owned(), "there are none; add a table [[destination]]"),
        (format!("[delivery]\nto = ['archive']\n{}", destination("").replace("'a'", "'archiv'")), "did you mean"),
        (rule("deliver_to = []"), "a deny rule cannot have it"),
        (rule("deliver_to = ['x']").replace("deny", "allow"), "\"x\" is no destination"),
        ("destination = 'a'".to_owned(), "destinations must be written as tables"),
    ] {
        let problems = refused(&text, &[]);
        assert!(problems.iter().any(|problem| problem.to_string().contains(remedy)), "{text}: {problems:?}");
    }
}

#[test]
fn destinations_of_a_rule_are_its_own_or_those_of_all() {
    let text = "[delivery]\nto = ['a', 'b', 'a']\n[[destination]]\nname = 'a'\naddress = '10.0.0.5:104'\ncalled = 'A'\n\
        [[destination]]\nname = 'b'\naddress = '[::1]:104'\ncalled = 'B'\ncalling = 'GATE'\nhours = '20:00-06:00'\nbandwidth = '1 MiB'\n\
        [[access]]\nname = 'own'\naction = 'allow'\ncalling = ['X']\ndeliver_to = ['b']\n\
        [[access]]\nname = 'nowhere'\naction = 'allow'\ncalling = ['Y']\ndeliver_to = []\n\
        [[access]]\nname = 'all'\naction = 'allow'\n";
    let live = read(text, &[]).unwrap().settings.node.live;
    let of_rules: Vec<_> = live.access.terms.iter().map(|terms| terms.deliver_to.to_vec()).collect();
    assert_eq!(of_rules, [vec!["b"], vec![], vec!["a", "b"]]);
    assert_eq!(*live.delivery.default_to, ["a", "b"]);
    let [a, b] = &*live.delivery.destinations else { panic!("{:?}", live.delivery) };
    let tidegate_actors::DestinationKind::Dicom(of_a) = &a.kind;
    assert_eq!((of_a.calling.as_str(), of_a.connections, a.attempts, a.hours), ("TIDEGATE", 2, 5, None));
    assert_eq!((b.bandwidth_bytes_per_s, b.hours.map(|hours| hours.from_minute)), (Some(1 << 20), Some(1200)));
    // Without a receipt, the first rule that may have allowed it says where it goes.
    for (calling, to) in [("X", vec!["b"]), ("Y", vec![]), ("Z", vec!["a", "b"])] {
        assert_eq!(live.assumed_destinations(calling, "1.2.840.10008.5.1.4.1.1.2").to_vec(), to, "{calling}");
    }
}
