//! Tells the program which commit a release is built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=TIDEGATE_COMMIT");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = std::env::var("TIDEGATE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let built_from = match commit.or_else(|| is_release.then(checked_out).flatten()) {
        Some(commit) => format!(" ({commit})"),
        None => String::new(),
    };
    println!("cargo:rustc-env=TIDEGATE_BUILT_FROM={built_from}");
}

/// The commit of this directory, marked if files differ from it. `None`: it is no checkout.
fn checked_out() -> Option<String> {
    // What git describes changes with the branch, with its commit, and with the files, which cargo watches by itself.
    for file in ["HEAD", "logs/HEAD", "index"] {
        println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    for directory in ["src", "actors", "conf", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={directory}");
    }
    git(&["describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
