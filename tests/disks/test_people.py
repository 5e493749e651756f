"""What people do to a root between two starts stays done: the commit log restores what a crash took, and nothing else."""

import pytest

from ground import disk, make_ext4, memory, run
from node import Node
from senders import Instance, Ledger, digest, store, stored_dataset

STUDY, OTHER = "2.25.1", "2.25.2"
INSTANCES = [Instance(STUDY, number) for number in range(1, 5)]
KEPT, CORRECTED, MOVED, REPLACED = (instance.path for instance in INSTANCES)
# As long as the instance it takes the place of.
CONTENT = Instance(STUDY, 4, version=7)


@pytest.fixture
def image(ground):
    image = ground.enter_context(memory(ground / "images", "1g")) / "image"
    make_ext4(image, "192M")
    return image


def have_stored(root, ground, *instances, commit="log", **settings) -> Ledger:
    """A node that was killed right after it had acknowledged the instances."""
    ledger = Ledger()
    with Node(root, ground / "node.log", commit=commit, **settings) as node:
        assert set(store(node.port, ledger, *instances)) == {0}
        node.kill()
    return ledger


def correct(root) -> None:
    """An operator corrects one, moves one away, and puts something else in the place of one."""
    with (root / CORRECTED).open("r+b") as file:
        file.seek(900)
        file.write(b"CORRECTED")
    (root / MOVED).rename(root.parent / "archived")
    replacement = root.parent / "replacement"
    replacement.write_bytes((root / REPLACED).read_bytes()[:-2_000] + CONTENT.dataset()[-2_000:])
    replacement.rename(root / REPLACED)


def assert_corrected(root, moved_may_be_back=False) -> None:
    assert (root / CORRECTED).read_bytes()[900:909] == b"CORRECTED", "a correction was reverted"
    assert moved_may_be_back or not (root / MOVED).exists(), "a file that was moved away is back"
    assert (root / REPLACED).read_bytes().endswith(CONTENT.dataset()[-2_000:]), "a file that was replaced is back"
    assert digest(stored_dataset(root / KEPT)) == digest(INSTANCES[0].dataset())


@pytest.mark.parametrize("commit", ["adaptive", "log"])
def test_corrections_stay_after_a_kill(ground, image, commit):
    root = ground.enter_context(disk(image, ground / "mount")) / "storage"
    have_stored(root, ground, *INSTANCES, commit=commit)
    correct(root)
    for _ in range(2):
        with Node(root, ground / "again.log", commit=commit) as node:
            assert_corrected(root)
            assert node.stop() == 0
    assert_corrected(root)


def test_corrections_stay_in_a_copy_of_the_root_that_has_the_log(ground, image):
    mount = ground.enter_context(disk(image, ground / "mount"))
    have_stored(mount / "storage", ground, *INSTANCES)
    run("cp", "-a", mount / "storage", mount / "restored")
    correct(mount / "restored")
    with Node(mount / "restored", ground / "again.log", commit="log"):
        # A log in a copy cannot tell a file that was moved from one that was not copied.
        assert_corrected(mount / "restored", moved_may_be_back=True)


def test_a_restored_log_does_not_revert_what_was_stored_since(ground, image):
    mount = ground.enter_context(disk(image, ground / "mount"))
    root = mount / "storage"
    ledger = have_stored(root, ground, *INSTANCES)
    run("cp", "-a", root, mount / "backup")
    newer = [Instance(STUDY, number, version=1) for number in range(1, 5)]
    with Node(root, ground / "newer.log", commit="log") as node:
        assert set(store(node.port, ledger, *newer)) == {0}
        assert node.stop() == 0
    # The backup comes back, newer files of the root on top of it.
    run("cp", "-a", "-u", f"{root / STUDY}", mount / "backup")
    with Node(mount / "backup", ground / "again.log", commit="log"):
        faults = ledger.faults(mount / "backup")
    assert not faults, "\n".join(faults)


def test_a_kill_loses_nothing_that_was_left_alone(ground, image):
    root = ground.enter_context(disk(image, ground / "mount")) / "storage"
    ledger = have_stored(root, ground, *INSTANCES, Instance(OTHER, 1, pixels=150_000))
    with Node(root, ground / "again.log", commit="log"):
        assert not ledger.faults(root)
