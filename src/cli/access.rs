//! `check-access`: the rule that decides about a peer, and why each rule before it does not match. `hash-passcode`: a line of the users'
//! file.

use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde::Serialize;
use tidegate_access::explain::Looked;
use tidegate_access::rules::Criterion;
use tidegate_access::{Certificate, Explanation, Requestor, users};
use tidegate_actors::{AccessSettings, Terms};

use super::configuration::FileArgs;
use super::{Exit, output};
use crate::config::Settings;

/// Longest passcode, in bytes: the field's length is 16 bits (PS3.7 §D.3.3.7).
const MAX_PASSCODE_BYTES: usize = 65_535;

#[derive(Debug, Args)]
pub(super) struct CheckAccessArgs {
    #[command(flatten)]
    pub(super) file: FileArgs,
    /// Calling AE title
    #[arg(long, value_name = "AET")]
    calling: String,
    /// Called AE title; by default that of the node
    #[arg(long, value_name = "AET")]
    called: Option<String>,
    /// Address of the peer
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// SOP class UID of an instance to be stored; without it, only the association is checked
    #[arg(long, value_name = "UID")]
    sop_class: Option<String>,
    /// Attributes of the subject of the peer's certificate, such as "CN=ct1, O=Hospital", an alternative name such as
    /// DNS:ct1.example, or SPKI:sha256:DIGEST of its key; may be repeated
    #[arg(long, value_name = "NAME")]
    subject: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The explanation, as JSON.
#[derive(Serialize)]
struct Decision<'a> {
    #[serde(flatten)]
    explanation: &'a Explanation,
    rejects_called_ae_title: bool,
    max_associations: Option<usize>,
    layout: String,
    duplicates: String,
    durability: String,
    /// The destinations of its instances.
    deliver_to: Vec<String>,
}

/// Explains the decision. The exit code is 0 for a denial too: the command itself succeeded.
pub(super) fn check(args: &CheckAccessArgs, settings: &Settings) -> Exit {
    let live = &settings.node.live;
    let certificate = match Certificate::parse(&args.subject) {
        Ok(certificate) => (!args.subject.is_empty()).then_some(certificate),
        Err(error) => {
            output::complain(&format!("--subject: {error}"));
            return Exit::Misused;
        }
    };
    let policy = &live.associations.policy;
    let called = args.called.as_deref().unwrap_or(&policy.ae_title);
    let requestor = Requestor { calling: &args.calling, called, address: args.from, certificate: certificate.as_ref() };
    let mut explanation = live.access.rules.explain(&requestor, args.sop_class.as_deref());
    // The node looks at the called title before it looks at the rules.
    let rejects_called_ae_title = policy.require_called_ae_title && called != policy.ae_title;
    explanation.allowed &= !rejects_called_ae_title;
    let decision = decision(&explanation, rejects_called_ae_title, &live.access, settings);
    if args.json {
        return match serde_json::to_string_pretty(&decision) {
            Ok(text) => output::print(&format!("{text}\n")),
            Err(error) => {
                output::complain(&error.to_string());
                Exit::Failed
            }
        };
    }
    let mut text = String::new();
    for looked in &explanation.looked_at {
        text.push_str(&line(looked));
    }
    let what = if args.sop_class.is_some() { "instances of this SOP class" } else { "the association" };
    let verdict = if explanation.allowed { "allowed" } else { "denied" };
    text.push_str(&match &explanation.decided_by {
        _ if rejects_called_ae_title => {
            let own = &policy.ae_title;
            format!("denied: the association, because node.require_called_ae_title wants the called AE title {own:?}\n")
        }
        Some(rule) => format!("{verdict}: {what}, by rule {rule:?}\n"),
        None if explanation.allowed => format!("{verdict}: {what}, because there are no rules\n"),
        None => format!("{verdict}: {what}, because no rule matches\n"),
    });
    if explanation.allowed {
        let limit = decision.max_associations.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
        let Decision { layout, duplicates, durability, .. } = &decision;
        text.push_str(&format!(
            "  max_associations {limit}, layout {layout}, duplicates {duplicates}, durability {durability}\n"
        ));
        if !decision.deliver_to.is_empty() {
            text.push_str(&format!("  delivered to {}\n", decision.deliver_to.join(", ")));
        }
    }
    output::print(&text)
}

fn decision<'a>(
    explanation: &'a Explanation,
    rejects_called_ae_title: bool,
    access: &AccessSettings,
    settings: &Settings,
) -> Decision<'a> {
    let terms: Terms = explanation.rule_index.map(|index| access.terms[index].clone()).unwrap_or_default();
    let usual = settings.node.storage.placement();
    let placement = terms.placement.as_deref().unwrap_or(&usual);
    Decision {
        explanation,
        rejects_called_ae_title,
        max_associations: terms.max_associations,
        layout: placement.layout.template().to_owned(),
        duplicates: placement.duplicates.to_string(),
        durability: placement.durability.to_string(),
        deliver_to: match explanation.rule_index {
            Some(_) => terms.deliver_to.to_vec(),
            None => settings.node.live.delivery.default_to.to_vec(),
        },
    }
}

fn line(looked: &Looked) -> String {
    let Looked { rule, allows, failed, wanted, found } = looked;
    let action = if *allows { "allow" } else { "deny" };
    let Some(failed) = failed else { return format!("{action} {rule:?}: matches\n") };
    let key = match failed {
        Criterion::Calling => "calling",
        Criterion::Called => "called",
        Criterion::From => "from",
        Criterion::Certificate => "certificate",
        Criterion::SopClass => "sop_class",
    };
    let found = if found.is_empty() { "none".to_owned() } else { format!("{found:?}") };
    format!("{action} {rule:?}: does not match, {key} is {found}, not {wanted:?}\n")
}

/// Reads a passcode and prints its line.
pub(super) fn hash(name: &str) -> Exit {
    let passcode = match read_passcode(name) {
        Ok(passcode) => passcode,
        Err(error) => {
            output::complain(&format!("cannot read the passcode: {error}"));
            return Exit::Failed;
        }
    };
    if !(1..=MAX_PASSCODE_BYTES).contains(&passcode.len()) {
        output::complain(&format!("a passcode must have 1 to {MAX_PASSCODE_BYTES} bytes"));
        return Exit::Misused;
    }
    match users::line(name, passcode.as_bytes()) {
        Some(line) => output::print(&format!("{line}\n")),
        None => {
            let most = users::MAX_NAME_BYTES;
            output::complain(&format!(
                "a user name must have 1 to {most} bytes, without colons and control characters"
            ));
            Exit::Misused
        }
    }
}

/// The first line of stdin, without echo on a terminal.
fn read_passcode(name: &str) -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let before = if stdin.is_terminal() { Some(tcgetattr(&stdin)?) } else { None };
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "passcode of {name:?}: ").and_then(|()| stderr.flush());
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let Some(before) = &before {
        tcsetattr(&stdin, OptionalActions::Flush, before)?;
        let _ = writeln!(std::io::stderr());
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
