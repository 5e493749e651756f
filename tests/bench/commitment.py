"""What 50 requests of storage commitment a second cost beside ct8: the load alone and with them, in turns.

    TIDEGATE_BIN=target/release/tidegate LOADTEST_BIN=target/release/tidegate-loadtest python3 tests/bench/commitment.py DIRECTORY [INSTANCES]

Each request names ten instances, on an association of its own, and is reported by a call. The modality is a part of this program: its CPU time is said, since
the machine is shared. The figures are printed and judged by nobody.
"""

import resource
import shutil
import socket
import statistics
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import commitment_kills  # noqa: E402
import launch  # noqa: E402
import wire  # noqa: E402
from delivery import Node  # noqa: E402
from kills import CT, EXPLICIT, dataset  # noqa: E402
from modality import PUSH_MODEL, PUSH_MODEL_INSTANCE  # noqa: E402

A_SECOND = 50
INSTANCES_OF_A_REQUEST = 10
ROUNDS = 5


class Modality(threading.Thread):
    """Asks so many times a second, and takes the reports; raw bytes, so that it costs little."""

    def __init__(self):
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.server.getsockname()[1]
        self.asked, self.reported = 0, 0
        self.until = None
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            peer, _ = self.server.accept()
            threading.Thread(target=self.take, args=[peer], daemon=True).start()

    def take(self, peer: socket.socket) -> None:
        with peer:
            kind, request = wire.read_pdu(peer)
            role = wire.item(0x54, len(PUSH_MODEL).to_bytes(2, "big") + PUSH_MODEL.encode() + b"\0\1")
            accepted = wire.item(0x21, b"\1\0\0\0" + wire.item(0x40, EXPLICIT))
            items = wire.item(0x10, wire.APPLICATION_CONTEXT) + accepted + wire.user_information(role)
            peer.sendall(wire.pdu(2, request[:68] + items))
            response = wire.command_set(
                wire.command_element(0x0002, PUSH_MODEL.encode()),
                wire.command_element(0x0100, wire.unsigned_short(0x8100)),
                wire.command_element(0x0120, wire.unsigned_short(1)),
                wire.command_element(0x0800, wire.unsigned_short(0x0101)),
                wire.command_element(0x0900, wire.unsigned_short(0)),
                wire.command_element(0x1000, PUSH_MODEL_INSTANCE.encode()),
            )
            is_answered = False
            while True:
                kind, value = wire.read_pdu(peer)
                if kind == 4 and not is_answered and self.ends_dataset(value):
                    peer.sendall(wire.pdu(4, wire.pdv(1, 3, response)))
                    is_answered = True
                    self.reported += 1
                elif kind == 5:
                    return peer.sendall(wire.pdu(6, bytes(4)))
                elif kind == 7:
                    return None

    @staticmethod
    def ends_dataset(value: bytes) -> bool:
        while value:
            length = int.from_bytes(value[:4], "big")
            if value[5] == 2:
                return True
            value = value[4 + length :]
        return False

    def ask_for(self, port: int, seconds_until: threading.Event, instances: list[str]) -> None:
        asker = commitment_kills.Requester(0, port, seconds_until, Path())
        due = time.monotonic()
        while not seconds_until.is_set():
            with asker.associate(PUSH_MODEL.encode()) as peer:
                assert asker.ask(peer, f"1.2.828.{time.time_ns()}", instances) == 0
                peer.sendall(wire.pdu(5, bytes(4)))
                wire.read_pdu(peer)
            self.asked += 1
            due += 1 / A_SECOND
            time.sleep(max(0, due - time.monotonic()))


def main() -> None:
    directory, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    modality = Modality()
    root = directory / "commitment"
    node = Node(root, f'[[peer]]\nae_title = "BYTES"\naddress = "127.0.0.1:{modality.port}"\n')
    sender = commitment_kills.Requester(1, node.port, threading.Event(), root)
    instances = [f"1.2.826.1.0.{number}" for number in range(INSTANCES_OF_A_REQUEST)]
    with sender.associate() as peer:
        for uid in instances:
            sender.store(peer, uid, dataset(uid, "1.2.826.1.0", 20_000))
    ratios = []
    for number in range(ROUNDS):
        alone = node.load("ct8", count)
        until, before = threading.Event(), (modality.asked, modality.reported)
        began, own = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        asking = threading.Thread(target=modality.ask_for, args=[node.port, until, instances])
        asking.start()
        beside = node.load("ct8", count)
        until.set()
        asking.join()
        took, spent = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
        cpu = spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime
        ratios.append(beside / alone)
        asked, reported = modality.asked - before[0], modality.reported - before[1]
        print(
            f"round {number}: alone {alone:.0f}/s, beside {beside:.0f}/s, ratio {beside / alone:.3f}; "
            f"{asked / took:.0f} requests and {reported / took:.0f} reports a second, the modality itself {100 * cpu / took:.0f} % of a core",
            flush=True,
        )
        for study in root.iterdir():
            if study.is_dir() and study.name not in (".tidegate", "1.2.826.1.0"):
                shutil.rmtree(study)
    print(f"median ratio {statistics.median(ratios):.3f}")
    node.stop()


if __name__ == "__main__":
    main()
