"""A minute of faults at random, in every kind of child, under load from real senders.

`TIDEGATE_FAULTS_BIN` names a node built with the feature `test-faults`; `CHAOS_SECONDS` and `CHAOS_SEED` set length and course.
"""

import json
import os
import random
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

from node import Node
from senders import Pynetdicom, Storescu

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() // 1000))
FAULTS = [
    "writer panic",
    "writer panic",
    "reply panic",
    "writer die",
    "writer hang 1500",
    "reply hang 1500",
    "association panic",
    "associations die",
    "associations hang 1500",
    "listener panic",
    "listener die",
    "listener hang 1500",
    "statistics panic",
    "statistics die",
    "admin-socket panic",
]


class FaultyNode(Node):
    binary_variable = "TIDEGATE_FAULTS_BIN"
    panics = True

    def arm(self, fault: str) -> None:
        found = None
        while not found:
            found = re.search(r"fault port open.*address=127\.0\.0\.1:(\d+)", self.log_path.read_text())
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as port:
            port.sendall(f"{fault}\n".encode())
            assert port.recv(16) == b"armed\n"

    def memory(self) -> dict:
        binary = Path(os.environ[self.binary_variable]).resolve()
        done = subprocess.run(
            [binary, "mem", "top", "--json", "--storage", self.root], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def held_bytes(self) -> int:
        return sum(stage["bytes"] for stage in self.memory()["stages"] if stage["stage"] not in ("admin", "catalogue"))

    def threads_and_descriptors(self) -> tuple[int, int]:
        return tuple(len(list(Path(f"/proc/{self.process.pid}/{what}").iterdir())) for what in ("task", "fd"))


def eventually(what, limit_s: float = 30):
    """Waits until `what()` is true; what it said last."""
    deadline = time.monotonic() + limit_s
    while not (said := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return said


def faults_at_random(node: FaultyNode, chance: random.Random) -> int:
    """A while of faults, and the number of them."""
    end = time.monotonic() + SECONDS
    armed = 0
    while time.monotonic() < end:
        node.arm(chance.choice(FAULTS))
        armed += 1
        time.sleep(chance.uniform(0.05, 0.6))
    node.arm("forget")
    time.sleep(2)
    return armed


def test_nothing_acknowledged_is_lost_and_nothing_is_left_unanswered_whatever_fails(tmp_path, monkeypatch):
    print(f"CHAOS_SEED={SEED}")
    monkeypatch.setenv("TIDEGATE_TEST_MAX_HUNG_THREADS", "200")
    node = FaultyNode(
        tmp_path,
        supervision__hang_timeout="1s",
        supervision__max_restarts="10000",
        writers__commit_timeout="30s",
        memory__spool_threshold="256 KiB",
        storage__min_free="0 B",
    )
    stop = threading.Event()
    senders = [Pynetdicom(number, node.port, tmp_path, stop) for number in range(3)]
    senders += [Storescu(number, node.port, tmp_path, stop) for number in range(3, 5)]
    # What a node keeps once it has served: the directories of the studies, its threads.
    for sender in senders:
        sender.round()
    time.sleep(12)
    assert node.held_bytes() == 0
    threads, descriptors = node.threads_and_descriptors()

    for sender in senders:
        sender.start()
    try:
        armed = faults_at_random(node, random.Random(SEED))
        before = [len(sender.told.acknowledged) for sender in senders]
        going_on = lambda: all(len(s.told.acknowledged) > b + 5 for s, b in zip(senders, before))
        assert eventually(lambda: going_on() or any(sender.failure for sender in senders)), "all is well again"
    finally:
        stop.set()
        deadline = time.monotonic() + 180
        for sender in senders:
            sender.join(max(0, deadline - time.monotonic()))
    for sender in senders:
        assert not sender.is_alive(), f"{sender.name} waits for ever"
        if sender.failure:
            raise sender.failure

    told = [sender.told for sender in senders]
    acknowledged = set().union(*(each.acknowledged for each in told))
    sent = {uid: content for each in told for uid, content in each.sent.items()}
    refused, cut_off = sum(each.refused for each in told), sum(each.cut_off for each in told)
    print(f"{armed} faults; {len(acknowledged)} acknowledged of {len(sent)}, {refused} refused, {cut_off} associations cut off")
    assert eventually(lambda: node.held_bytes() == 0), "leases are left"
    # A worker of the admin socket's lives on for a while.
    assert eventually(lambda: node.threads_and_descriptors()[0] <= threads + 1), (node.threads_and_descriptors(), threads)
    assert eventually(lambda: node.threads_and_descriptors()[1] <= descriptors), (node.threads_and_descriptors(), descriptors)
    log = node.log_path.read_text()
    for child in ("writer-", "association", "associations-", "listener", "statistics", "admin-socket"):
        assert re.search(rf'child ended child="{child}', log), f"nothing happened to {child}"
    node.stop()

    stored = node.stored()
    by_uid = {file.sop_instance: file.dataset for file in stored}
    assert len(by_uid) == len(stored), "an instance is stored twice"
    lost = acknowledged - by_uid.keys()
    assert not lost, f"lost: {sorted(lost)[:5]}"
    for uid, content in by_uid.items():
        assert content == sent[uid], f"{uid} is not what was sent"
