"""Roots on filesystems that lie on another one, or on none: a sync of the whole of them need not reach the disk."""

import time

import pytest

from ground import copy, disk, make_ext4, memory, mounted, served
from node import Node, recover
from senders import OWN, Instance, Ledger, store

# By then a segment of the commit log has been checkpointed and freed; the disk below writes nothing by itself for ten minutes.
CHECKPOINTED_S = 3
INSTANCES = [Instance("2.25.1", number, pixels=2_000 * number) for number in range(1, 9)] + [
    Instance("2.25.2", number, pixels=150_000) for number in range(1, 4)
]


@pytest.fixture
def image(ground):
    image = ground.enter_context(memory(ground / "images", "1g")) / "image"
    make_ext4(image, "256M")
    return image


def overlay(ground, below):
    for name in ("lower", "upper", "inner"):
        (below / name).mkdir()
    options = f"lowerdir={below / 'lower'},upperdir={below / 'upper'},workdir={below / 'inner'}"
    ground.enter_context(mounted("overlay", ground / "stacked", "-t", "overlay", "-o", options))
    return "upper"


def fuse(ground, below):
    (below / "mirrored").mkdir()
    ground.enter_context(served(["bindfs", "-f", below / "mirrored", ground / "stacked"], ground / "stacked"))
    return "mirrored"


@pytest.mark.parametrize("commit", ["adaptive", "log", "per-file"])
@pytest.mark.parametrize("stack", [overlay, fuse])
def test_what_was_acknowledged_survives_a_power_cut(ground, image, stack, commit):
    below, ledger = ground.enter_context(disk(image, ground / "below", "-o", "commit=600")), Ledger()
    where = stack(ground, below)
    node = ground.enter_context(Node(ground / "stacked" / "storage", ground / "node.log", commit=commit))
    assert set(store(node.port, ledger, *INSTANCES)) == {0}
    time.sleep(CHECKPOINTED_S)
    node.pause()
    after = copy(image, image.with_name("after"))
    with disk(after, ground / "again") as mount:
        recover(mount / where / "storage")
        faults = ledger.faults(mount / where / "storage")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("commit", ["adaptive", "log"])
@pytest.mark.parametrize("stack", [overlay, fuse])
def test_the_node_stores_file_by_file_there_and_says_so(ground, image, stack, commit):
    stack(ground, ground.enter_context(disk(image, ground / "below")))
    with Node(ground / "stacked" / "storage", ground / "node.log", commit=commit) as node:
        assert node.logged("WARN.*(file by file|per-file|each file|by itself)"), node.log()
        assert store(node.port, Ledger(), INSTANCES[0]) == [0]
        segments = list((node.root / OWN / "log").glob("segment-*"))
        assert not segments, "it says so, and has a commit log"


def test_the_node_says_that_memory_is_not_durable(ground):
    where = ground.enter_context(memory(ground / "memory", "256m"))
    with Node(where / "storage", ground / "node.log") as node:
        assert node.logged("WARN.*(not durable|memory|tmpfs|power)"), node.log()
        assert store(node.port, Ledger(), INSTANCES[0]) == [0]


def test_the_node_says_nothing_of_the_kind_about_a_local_filesystem(ground, image):
    mount = ground.enter_context(disk(image, ground / "below"))
    with Node(mount / "storage", ground / "node.log") as node:
        assert not node.lines("WARN.*(file by file|per-file|not durable|tmpfs|overlay|fuse)"), node.log()
