//! The admin surface of a running node, over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::http::{Answer, ask, get};
use crate::node::{Node, eventually};
use crate::pki::Authority;
use crate::wire::{Wire, dataset, p_data, request, store_command};
use dicom_ul::pdu::Pdu;
use rustix::process::Signal;
use rustls::version::TLS13;

mod bounds;
mod certificates;
mod ended;
mod figures;
mod guard;
mod operators;

const SURFACE: (&str, &str) = ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0");

/// The header of the token that the node has made for itself.
fn bearer(node: &Node) -> String {
    let file = node.storage().join(".tidegate/admin.token");
    assert!(eventually(|| file.exists()), "the node makes a token");
    format!("Bearer {}", fs::read_to_string(file).unwrap().trim())
}

fn check(answer: &Answer, name: &str) -> bool {
    let readiness = answer.json();
    let checks = readiness["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()["ok"].as_bool().unwrap()
}
