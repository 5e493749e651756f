"""Storage that promised more room than it has: it runs full below the filesystem, is extended, and the node is started again."""

import ctypes
import errno
import os
import time
from pathlib import Path

import pytest

from ground import looped, make_ext4, memory, mounted
from node import Node, NotStarted
from senders import Instance, Ledger, store

STUDY = "2.25.1"
# More than the age at which a segment of the commit log is checkpointed.
CHECKPOINTED_S = 2
SYNC_FILE_RANGE_WRITE = 2
# A service manager starts it again.
STARTS = 3


def allocate(mount: Path) -> None:
    """Goes once round the journal, so that the filesystem itself has all its blocks in the storage below."""
    for act in (Path.mkdir, Path.rmdir):
        for number in range(150):
            act(mount / f"d{number}")
            descriptor = os.open(mount, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def fill(ballast: Path) -> None:
    """Takes all the room of a filesystem."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC, error


def write_back(root: Path) -> None:
    """Has the kernel write out the files as it does after a while; nobody is told of an error."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), SYNC_FILE_RANGE_WRITE)
            os.close(descriptor)


def start(root: Path, log: Path, **settings) -> Node:
    for attempt in range(STARTS):
        try:
            return Node(root, log, **settings)
        except NotStarted:
            if attempt == STARTS - 1:
                raise
    raise AssertionError


@pytest.mark.parametrize("ending", [Node.stop, Node.kill], ids=["sigterm", "sigkill"])
@pytest.mark.parametrize(
    ("commit", "restarted_while_full"),
    [("adaptive", False), ("adaptive", True)],
    ids=["adaptive-extended-first", "adaptive-restarted-while-full"],
)
def test_what_was_acknowledged_is_whole_after_the_storage_was_extended(ground, commit, restarted_while_full, ending):
    # A catalogue beside the files writes to blocks that the full storage lacks, and ext4 turns read-only before the node is restarted.
    storage = ground.enter_context(memory(ground / "thin", "96m"))
    make_ext4(storage / "image", "1G", "-N", "2048")
    device = ground.enter_context(looped(storage / "image"))
    mount, log, ledger, trouble = ground / "mount", ground / "node.log", Ledger(), []
    root = mount / "storage"
    with mounted(device, mount, "-o", "nodiscard"):
        allocate(mount)
        with Node(root, log, commit=commit, catalogue="off") as node:
            early = [Instance(STUDY, number) for number in (1, 2, 3)]
            assert store(node.port, ledger, *early[:2]) == [0, 0]
            time.sleep(CHECKPOINTED_S)
            assert store(node.port, ledger, early[2]) == [0]
            time.sleep(CHECKPOINTED_S)
            fill(storage / "ballast")
            for number in range(101, 107):
                # The next falls into the other segment, or behind a checkpoint that failed.
                store(node.port, ledger, Instance(STUDY, number, pixels=2_000 if number % 3 else 150_000))
                time.sleep(0.4)
            write_back(root)
            time.sleep(CHECKPOINTED_S)
            ending(node)
            trouble += node.trouble()
        if restarted_while_full:
            try:
                with Node(root, log, commit=commit, catalogue="off") as node:
                    store(node.port, ledger, Instance(STUDY, 201))
                    time.sleep(CHECKPOINTED_S)
                    ending(node)
            except NotStarted:
                pass
        (storage / "ballast").unlink()
        with start(root, log, commit=commit, catalogue="off") as node:
            assert store(node.port, ledger, Instance(STUDY, 301)) == [0]
            assert node.stop() == 0, node.log()
    with mounted(device, mount, "-o", "nodiscard"):
        faults = ledger.faults(root)
    assert not faults, "\n".join([*faults, *trouble])
    assert ledger.count(acknowledged=True) >= 4
