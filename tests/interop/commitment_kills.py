"""The node is killed at random between requests of storage commitment and their reports, and files are deleted meanwhile.

    TIDEGATE_BIN=target/debug/tidegate python tests/interop/commitment_kills.py [KILLS]

Each request whose response was success must be reported at least once. No report says committed of an instance that was deleted before the association
of the report was asked for (less the 100 ms for which an outcome is taken to be of the moment, and what a loaded machine adds to them), and none says
failed of one that is there. Exit code 1: one does.
"""

import contextlib
import json
import random
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import wire
from kills import CT, EXPLICIT, KILL_AFTER_S, Process, Sender, dataset, element, free_port, parser, start_node, tidegate, under_kills
from modality import PUSH_MODEL, PUSH_MODEL_INSTANCE, Modality

REQUESTERS = 2
INSTANCES_OF_A_REQUEST = 4
# Of the requests, those that name an instance which was never sent, and those of which an instance is deleted.
UNKNOWN, DELETED = 0.1, 0.3
REPORTED_LIMIT_S = 300
# An outcome is of this moment for 100 ms from when the last file was looked at, and the machine runs other tests.
MOMENT_S = 0.4


class Listener(Modality):
    """It keeps when the association of each report was asked for: what the report says is evaluated later than that."""

    def __init__(self):
        super().__init__("BYTES", EXPLICIT.decode())
        self.began: dict = {}
        # When it began, and the report.
        self.came_at: list = []

    def _called(self, event) -> None:
        super()._called(event)
        self.began[event.assoc] = time.monotonic()

    def _reported(self, event, is_requestor: bool):
        answer = super()._reported(event, is_requestor)
        with self.came:
            self.came_at.append((self.began[event.assoc], self.reports[-1]))
        return answer


def action_information(transaction: str, instances: list[str]) -> bytes:
    items = b""
    for uid in instances:
        item = element(0x00081150, b"UI", CT) + element(0x00081155, b"UI", uid.encode())
        items += b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    sequence = b"\x08\x00\x99\x11SQ\0\0" + len(items).to_bytes(4, "little") + items
    return element(0x00081195, b"UI", transaction.encode()) + sequence


class Requester(Sender):
    """Stores the instances of a request and asks for their commitment, each until it is answered."""

    def __init__(self, number: int, port: int, until: threading.Event, root: Path):
        super().__init__(number, port, until)
        self.root = root
        # Transaction UID: the instances.
        self.accepted: dict[str, list[str]] = {}
        # SOP Instance UID: when its file was deleted, and when it was about to be.
        self.deleted: dict[str, tuple[float, float]] = {}
        self.never_sent: set[str] = set()

    def run(self) -> None:
        count = 0
        while not self.until.is_set():
            with contextlib.suppress(OSError, ConnectionError):
                self.request(count)
            count += 1

    def request(self, count: int) -> None:
        study = f"1.2.826.{self.number}.{count}"
        instances = [f"{study}.{number}" for number in range(INSTANCES_OF_A_REQUEST)]
        with self.associate() as peer:
            for uid in instances:
                self.store(peer, uid, dataset(uid, study, self.random.choice([100, 20_000])))
        if self.random.random() < UNKNOWN:
            self.never_sent.add(f"{study}.99")
            instances.append(f"{study}.99")
        with self.associate(PUSH_MODEL.encode()) as peer:
            transaction = f"1.2.827.{self.number}.{count}"
            if self.ask(peer, transaction, instances) == 0:
                self.accepted[transaction] = instances
        if self.random.random() < DELETED:
            time.sleep(self.random.choice([0, 0.1, 0.5]))
            uid = instances[0]
            before = time.monotonic()
            self.root.joinpath(study, f"{study}.1", f"{uid}.dcm").unlink()
            self.deleted[uid] = before, time.monotonic()

    def ask(self, peer: socket.socket, transaction: str, instances: list[str]) -> int:
        command = wire.command_set(
            wire.command_element(0x0003, PUSH_MODEL.encode()),
            wire.command_element(0x0100, wire.unsigned_short(0x0130)),
            wire.command_element(0x0110, wire.unsigned_short(1)),
            wire.command_element(0x0800, wire.unsigned_short(0)),
            wire.command_element(0x1001, PUSH_MODEL_INSTANCE.encode()),
            wire.command_element(0x1008, wire.unsigned_short(1)),
        )
        peer.sendall(wire.pdu(4, wire.pdv(1, 3, command)) + wire.pdu(4, wire.pdv(1, 2, action_information(transaction, instances))))
        kind, value = wire.read_pdu(peer)
        at = value.find(b"\0\0\x00\x09\x02\0\0\0")
        if kind != 4 or at < 0:
            raise ConnectionError("no response")
        return int.from_bytes(value[at + 8 : at + 10], "little")


def judge(requesters: list[Requester], listener: Listener) -> list[str]:
    """What is wrong."""
    accepted = {uid: named for requester in requesters for uid, named in requester.accepted.items()}
    deleted = {uid: when for requester in requesters for uid, when in requester.deleted.items()}
    never_sent = set().union(*(requester.never_sent for requester in requesters))
    reported = {report.transaction for report in listener.reports}
    wrong = [f"{uid} is not reported" for uid in accepted if uid not in reported]
    for began, report in listener.came_at:
        committed = {uid for _, uid in report.committed}
        wrong += [
            f"{report.transaction} says committed of {uid}, deleted before"
            for uid in committed
            if uid in deleted and deleted[uid][1] < began - MOMENT_S
        ]
        wrong += [f"{report.transaction} says committed of {uid}, never sent" for uid in committed & never_sent]
        wrong += [
            f"{report.transaction} says {reason:04X} of {uid}, which was there"
            for uid, reason in report.failed.items()
            if uid not in never_sent and not (uid in deleted and deleted[uid][0] < report.at)
        ]
        named = accepted.get(report.transaction)
        if named is not None and committed | set(report.failed) != set(named):
            wrong.append(f"{report.transaction} reports other instances than it was asked for")
    denied = sum(len(report.failed) for report in listener.reports)
    print(f"{len(accepted)} accepted, {len(listener.reports)} reports of {len(reported)}, {len(deleted)} files deleted, {denied} instances denied")
    return wrong


def wait_until_reported(config: Path) -> None:
    deadline = time.monotonic() + REPORTED_LIMIT_S
    while time.monotonic() < deadline:
        code, text = tidegate(config, "commitments", "--pending", "--json")
        if code in (0, 1) and text and not json.loads(text)["commitments"]:
            return
        time.sleep(1)


def main() -> int:
    options = parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as top:
        directory, port, listener = Path(top), free_port(), Listener()
        config, root = directory / "node.toml", directory / "storage"
        peer = f'[[peer]]\nae_title = "{listener.ae_title}"\naddress = "127.0.0.1:{listener.port}"\n'
        config.write_text(f'[node]\nlisten = "127.0.0.1:{port}"\n[storage]\nroot = "{root}"\n[admin]\nlisten = "off"\n{peer}')
        listener.listen()
        node = Process(lambda: start_node(directory, config))
        until = threading.Event()
        requesters = [Requester(number, port, until, root) for number in range(REQUESTERS)]
        try:
            progress = lambda: f"{sum(len(requester.accepted) for requester in requesters)} requests"
            under_kills(options, [node], requesters, until, KILL_AFTER_S, [0], progress)
            wait_until_reported(config)
            print(f"seed {options.seed}: {node.kills} kills")
            wrong = judge(requesters, listener)
        finally:
            node.end()
            listener.close()
    for one in wrong:
        print(one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
