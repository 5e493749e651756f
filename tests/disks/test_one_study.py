"""One study cannot be written, and its sender sends all of it: the others do not notice, and the operator reads why, once."""

import os
import re
import time

import pytest

from ground import disk, make_ext4, memory
from node import NOBODY, Node
from senders import Instance, Ledger, Load, Sender

BAD = "2.25.77"
SENT = 300
# Between two instances of the sender that is well.
PAUSE_S = 0.3
# Eight refusals are named, and the writers or the commit log may say one line of the same cause.
LINES_A_MINUTE = 9


def owned_by_root(ground, root) -> None:
    (root / BAD).mkdir(mode=0o755)


def closed_by_root(ground, root) -> None:
    (root / BAD).mkdir(mode=0o750)


def linked_to_another_filesystem(ground, root) -> None:
    other = ground.enter_context(memory(ground / "other", "64m"))
    os.chown(other, NOBODY, NOBODY)
    (root / BAD).symlink_to(other)


def a_file(ground, root) -> None:
    (root / BAD).write_text("not a directory")


@pytest.fixture
def mount(ground):
    image = ground.enter_context(memory(ground / "images", "1g")) / "image"
    make_ext4(image, "256M")
    mount = ground.enter_context(disk(image, ground / "mount"))
    mount.chmod(0o777)
    return mount


def send_it_all(node: Node, ledger: Ledger) -> list[int | None]:
    """What the sender of the study was told of each instance, as long as there is a node."""
    sender, told = Sender(node.port, ledger), []
    while len(told) < SENT and node.is_up():
        told.append(sender.store(Instance(BAD, len(told))))
    sender.close()
    return told


@pytest.mark.parametrize("obstruct", [owned_by_root, closed_by_root, linked_to_another_filesystem, a_file])
@pytest.mark.parametrize("commit", ["adaptive", "per-file"])
def test_the_others_lose_nothing_and_the_log_names_it(ground, mount, commit, obstruct):
    root, ledger = mount / "storage", Ledger()
    with Node(root, ground / "node.log", commit=commit, writers=16, as_nobody=True) as node:
        obstruct(ground, root)
        with Load(node.port, ledger, threads=2, pause_s=PAUSE_S):
            told = send_it_all(node, ledger)
        assert node.is_up(), "\n".join(node.trouble()[-3:])
        assert not node.lines("child ended"), "\n".join(node.lines("child ended")[:3])
        # A study on another filesystem may be written there.
        refused = set(told) != {0}
        if obstruct is not linked_to_another_filesystem:
            assert refused
        assert None not in told and (not refused or 0 not in told), {status: told.count(status) for status in set(told)}
        assert ledger.count(acknowledged=False) == told.count(None) + sum(bool(status) for status in told)
        lines = [line for line in node.trouble() if BAD in line or "refused" in line or "commit log" in line]
        assert len(lines) <= LINES_A_MINUTE, "\n".join(lines[:5])
        if refused:
            named = [line for line in lines if re.search(rf"{re.escape(BAD)}", line)]
            assert named, "\n".join(["no line names the path", *lines])
        if obstruct in (owned_by_root, closed_by_root):
            assert any(re.search(r"owner|owned|uid|root:root|chown", line) for line in named), named
        assert node.stop() == 0
    if refused:
        faults = ledger.faults(root)
        assert not faults, "\n".join(faults)


def test_what_was_refused_is_not_there_once_the_study_can_be_written(ground, mount):
    root, ledger = mount / "storage", Ledger()
    with Node(root, ground / "node.log", commit="log", as_nobody=True) as node:
        owned_by_root(ground, root)  # it can be looked into: the instances are in the log before they fail
        sender = Sender(node.port, ledger)
        assert 0 not in [sender.store(Instance(BAD, number)) for number in range(5)]
        sender.close()
        node.kill()
    os.chown(root / BAD, NOBODY, NOBODY)
    with Node(root, ground / "again.log", commit="log", as_nobody=True) as node:
        assert not list((root / BAD).rglob("*.dcm")), "an instance that was refused is stored"
