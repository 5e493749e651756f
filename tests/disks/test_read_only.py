"""The filesystem finds an error in itself and is read-only from then on, while the node stores."""

import time
from pathlib import Path

import pytest

from ground import copy, disk, looped, make_ext4, memory, mounted, run
from node import Node
from senders import Instance, Ledger, Load, store

# Acknowledged before the error, within a time that an emulated machine needs.
BEFORE, BEFORE_LIMIT_S = 100, 60
AFTER_S = 2.5


@pytest.mark.parametrize(
    ("commit", "power"),
    [("adaptive", "is-cut"), ("log", "is-cut"), ("per-file", "is-cut"), ("adaptive", "stays")],
)
def test_what_was_acknowledged_before_and_after_the_error_is_whole(ground, commit, power):
    images = ground.enter_context(memory(ground / "images", "1g"))
    image, ledger = images / "image", Ledger()
    make_ext4(image, "256M")
    with looped(image) as device, mounted(device, ground / "mount", "-o", "errors=remount-ro") as mount:
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        with Node(mount / "storage", ground / "node.log", commit=commit) as node:
            with Load(node.port, ledger):
                deadline = time.monotonic() + BEFORE_LIMIT_S
                while (before := ledger.count(acknowledged=True)) < BEFORE and time.monotonic() < deadline:
                    time.sleep(0.05)
                trigger.write_text("1")
                time.sleep(AFTER_S)
            told = node.trouble()
            late = store(node.port, ledger, Instance("2.25.99", 1)) if node.is_up() else [None]
            if power == "is-cut":
                node.pause()
                copy(image, images / "after")
            else:
                node.stop()
    if power == "stays":
        copy(image, images / "after")
    run("e2fsck", "-fy", images / "after", expect=None)
    assert before >= BEFORE
    assert told, "the node has not said a word"
    with disk(images / "after", ground / "again") as mount:
        with Node(mount / "storage", ground / "again.log", commit=commit) as node:
            assert node.stop() == 0, node.log()
        # One that was in the commit log when its file could not be written any more: nothing could take it out again.
        faults = ledger.faults(mount / "storage", refused_may_be_there=True)
    known = f"{before} acknowledged before the error, {ledger.count(acknowledged=True) - before} after it"
    assert not faults, "\n".join([known, f"{len(faults)} faults", *faults[:20]])
    assert late != [0], "an instance was acknowledged on a filesystem that is read-only"
