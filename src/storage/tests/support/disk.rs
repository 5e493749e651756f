//! A filesystem of its own, and what a power cut leaves of it. It needs a user who may mount.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An image with a filesystem, mounted.
pub(crate) struct Disk {
    image: PathBuf,
    pub(crate) mount: PathBuf,
}

impl Disk {
    /// `None`, and said so, if this user may not.
    pub(crate) fn make(dir: &Path, mib: u64) -> Option<Self> {
        let image = dir.join("image");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let made = quietly(Command::new("mkfs.ext4").args(["-q", "-J", "size=4"]).arg(&image));
        let disk = made.then(|| Self::attach(image, dir.join("mount"))).flatten();
        if disk.is_none() {
            eprintln!("SKIPPED, nothing was tested: this user may not make and mount a filesystem");
        }
        disk
    }

    fn attach(image: PathBuf, mount: PathBuf) -> Option<Self> {
        fs::create_dir_all(&mount).unwrap();
        // Nothing but a sync is to bring anything to the disk during the test.
        let mounted = quietly(Command::new("mount").args(["-o", "loop,commit=600"]).arg(&image).arg(&mount));
        mounted.then_some(Self { image, mount })
    }

    /// The disk as a power failure at this moment would leave it.
    pub(crate) fn after_power_cut(&self, dir: &Path) -> Self {
        let image = dir.join("after");
        // Holes stay holes.
        assert!(quietly(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&image)));
        Self::attach(image, dir.join("after.mount")).expect("the journal is replayed")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        quietly(Command::new("umount").arg(&self.mount));
    }
}

fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
