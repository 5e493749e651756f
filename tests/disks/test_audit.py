"""The filesystem of the audit spool is full while the receiver of the messages is down: instances are stored as before, each message that is lost is
counted, and with room again none is.
"""

import re
import time
import urllib.request

from ground import memory
from node import Node
from senders import OWN, Instance, Ledger, store

ASSOCIATIONS = 300
PATIENCE_S = 60
COUNTED = re.compile(r"^tidegate_audit_messages_lost_total\S* (\d+)", re.MULTILINE)
ADMIN = re.compile(r"http://(127\.0\.0\.1:\d+)/")


def until(ask, what: str):
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def lost(node: Node) -> int:
    address = ADMIN.search(node.started)[1]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as page:
        return int(COUNTED.search(page.read().decode())[1])


def transferred(receiver, study: str) -> bool:
    text = receiver.read_text() if receiver.exists() else ""
    return any(f'"{study}"' in line and "DICOM Instances Transferred" in line for line in text.splitlines())


def test_a_full_spool_loses_messages_and_no_instance_and_heals(ground):
    root, receiver, ledger = ground / "storage", ground / "there" / "audit", Ledger()
    (root / OWN).mkdir(parents=True)
    ground.enter_context(memory(root / OWN / "audit", "64k"))
    with Node(root, ground / "node.log", audit=f"file:{receiver}", admin="127.0.0.1:0") as node:
        for number in range(ASSOCIATIONS):
            assert store(node.port, ledger, Instance(f"2.25.{number}", number)) == [0], number
        # Of each association the begin of the transfer and its sum; the first ones have room.
        counted = until(lambda: lost(node), "nothing is counted as lost")
        assert node.logged("ERROR.*audit messages dropped: their spool cannot be written.*No space"), node.log()

        receiver.parent.mkdir()
        until(lambda: transferred(receiver, "2.25.0"), "what the spool has is not sent")
        counted = until(lambda: settled(node), "losses do not come to an end")
        sums = [number for number in range(ASSOCIATIONS) if transferred(receiver, f"2.25.{number}")]
        begins = receiver.read_text().count("Begin Transferring DICOM Instances")
        assert 0 < len(sums) < ASSOCIATIONS, "the spool was not full"
        missing = 2 * ASSOCIATIONS - len(sums) - begins
        assert counted == missing, f"{counted} counted, {missing} missing"

        assert store(node.port, ledger, Instance("2.25.777777", 1)) == [0]
        until(lambda: transferred(receiver, "2.25.777777"), "with room again, messages are still lost")
        assert lost(node) == counted
        assert not ledger.faults(root)
        assert node.stop() == 0


def settled(node: Node) -> int:
    """The losses, if no more come for a moment."""
    before = lost(node)
    time.sleep(0.5)
    return before if lost(node) == before else 0
