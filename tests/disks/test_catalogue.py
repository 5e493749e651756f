"""A filesystem that holds the catalogue alone is full, or read-only. The instances are elsewhere: they are stored as before, and found as soon as it
can be written."""

import errno
import json
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from ground import memory, run
from launch import environment, program
from node import Node
from senders import Instance, Ledger, store

PATIENCE_S = 120


def eventually(what):
    """Waits until `what()` is true; what it said last."""
    deadline = time.monotonic() + PATIENCE_S
    while not (said := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return said


def health(node: Node) -> dict:
    done = subprocess.run(
        [program(), "status", "--live", "--json", "--storage", node.root], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert status["readiness"]["ready"], status["readiness"]
    return status["catalogue"]


def present(catalogue: Path) -> int | None:
    try:
        with closing(sqlite3.connect(f"file:{catalogue}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM instances WHERE state = 'present'").fetchone()[0]
    except sqlite3.Error:
        return None


def told_beside(node: Node, command: str, expect: int) -> str:
    """What a command says beside the node on stderr."""
    done = subprocess.run([program(), command, "--storage", node.root], capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == expect, done.stderr
    return done.stderr


def fill(path: Path) -> None:
    """Takes the rest of a filesystem."""
    with path.open("wb", buffering=0) as file:
        for block in (65536, 4096, 512):
            try:
                while file.write(bytes(block)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


def test_instances_are_stored_while_the_disk_of_the_catalogue_is_full(ground):
    small = ground.enter_context(memory(ground / "small", "1m"))
    catalogue, ledger = small / "catalogue.sqlite", Ledger()
    with Node(ground / "storage", ground / "node.log", catalogue=catalogue) as node:
        assert store(node.port, ledger, *(Instance("2.25.1", number) for number in range(10))) == [0] * 10
        assert eventually(lambda: present(catalogue) == 10), health(node)
        fill(small / "ballast")
        # More than the room that the log has left.
        sent = [Instance(f"2.25.{study}", number) for study in range(2, 12) for number in range(50)]
        assert store(node.port, ledger, *sent) == [0] * len(sent)
        told = eventually(lambda: health(node)["condition"] == "behind" and health(node))
        assert told and "no space is left" in told["reason"], health(node)
        assert store(node.port, ledger, Instance("2.25.99", 1)) == [0]
        # What cannot be entered is owed to nobody yet, and nothing can be compared: both are said, and nobody waits for it.
        assert "no space is left" in told_beside(node, "outbox", expect=1), "nothing is owed, and no more is known"
        assert "no space is left" in told_beside(node, "reconcile", expect=1)
        (small / "ballast").unlink()
        small_size = run("mount", "-o", "remount,size=8m", small)
        assert eventually(lambda: present(catalogue) == len(sent) + 11), (present(catalogue), health(node), small_size)
        assert eventually(lambda: health(node)["condition"] == "current"), health(node)
        assert node.stop() == 0, node.log()
    assert not ledger.faults(ground / "storage")


def test_instances_are_stored_while_the_catalogue_is_on_a_read_only_mount(ground):
    mount = ground.enter_context(memory(ground / "mount", "8m"))
    catalogue, ledger = mount / "catalogue.sqlite", Ledger()
    with Node(ground / "storage", ground / "first.log", catalogue=catalogue) as node:
        assert store(node.port, ledger, Instance("2.25.1", 1)) == [0]
        assert eventually(lambda: present(catalogue) == 1), health(node)
        assert node.stop() == 0, node.log()
    run("mount", "-o", "remount,ro", mount)
    with Node(ground / "storage", ground / "node.log", catalogue=catalogue) as node:
        assert store(node.port, ledger, Instance("2.25.1", 2)) == [0]
        told = eventually(lambda: health(node)["condition"] == "unavailable" and health(node))
        assert told and "writable for the node" in told["remedy"], health(node)
        assert node.logged("catalogue unavailable")
        run("mount", "-o", "remount,rw", mount)
        assert eventually(lambda: present(catalogue) == 2), health(node)
        assert eventually(lambda: health(node)["condition"] == "current"), health(node)
        assert node.stop() == 0, node.log()
    assert not ledger.faults(ground / "storage")
