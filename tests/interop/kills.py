"""The node and the archives behind it are killed at random under load: every acknowledged instance must be at every archive, whole.

    TIDEGATE_BIN=target/debug/tidegate python tests/interop/kills.py [KILLS] [--retention]

Two storescp of dcmtk are the archives; each file that they receive has a name of its own, so that repeats are counted. With --retention the node
deletes what it has delivered (a program with the feature test-faults does so within seconds). Exit code 1: something is lost, or damaged.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import launch
import wire

CT, EXPLICIT = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.2.1"
SENDERS = 2
INSTANCES_OF_A_STUDY = 20
# Between two instances of a sender, and between two kills.
PAUSE_S = 0.01
KILL_AFTER_S = (0.2, 1.5)
CATCH_UP_LIMIT_S = 600
# What an archive may be sent again after one kill: what was sent within the last batches of the catalogue, over two connections.
MOST_REPEATS_OF_A_KILL = 200


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    head = tag.to_bytes(4, "big")
    head = head[1::-1] + head[3:1:-1] + vr
    return head + (len(value).to_bytes(2, "little") if vr != b"OW" else bytes(2) + len(value).to_bytes(4, "little")) + value


def dataset(uid: str, study: str, pixels: int) -> bytes:
    """It ends with its UID, so that a file tells by its end whether it is whole."""
    end = uid.encode().rjust(64)
    elements = [
        (0x00080016, b"UI", CT),
        (0x00080018, b"UI", uid.encode()),
        (0x0020000D, b"UI", study.encode()),
        (0x0020000E, b"UI", f"{study}.1".encode()),
        (0x7FE00010, b"OW", bytes(pixels) + end),
    ]
    return b"".join(element(*each) for each in elements)


class Process:
    """A process that is killed with all its children, and started again."""

    def __init__(self, start):
        self.start = start
        # When, by the clock of the system.
        self.killed: list[float] = []
        self.process = start()

    def kill(self) -> None:
        self.killed.append(time.time())
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def kills(self) -> int:
        return len(self.killed)

    def end(self) -> None:
        """Kills it for good, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.kill()

    def revive(self) -> None:
        self.process = self.start()


class Sender(threading.Thread):
    """Stores one instance after the other, each until it is acknowledged."""

    def __init__(self, number: int, port: int, until: threading.Event):
        super().__init__(daemon=True)
        self.number, self.port, self.until = number, port, until
        self.acknowledged: list[str] = []
        self.random = random.Random(number)

    def run(self) -> None:
        peer, count = None, 0
        while not self.until.is_set():
            study = f"1.2.826.{self.number}.{count // INSTANCES_OF_A_STUDY}"
            uid = f"{study}.{count}"
            try:
                peer = peer or self.associate()
                self.store(peer, uid, dataset(uid, study, self.random.choice([100, 20_000, 300_000])))
                self.acknowledged.append(uid)
                count += 1
                time.sleep(PAUSE_S)
            except (OSError, ConnectionError):
                if peer:
                    peer.close()
                peer = None
                time.sleep(0.05)
        if peer:
            peer.close()

    def associate(self, abstract_syntax: bytes = CT) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        items = [wire.item(0x10, wire.APPLICATION_CONTEXT), wire.context(1, abstract_syntax, EXPLICIT), wire.user_information()]
        peer.sendall(wire.associate_rq(*items))
        if wire.read_pdu(peer)[0] != 2:
            raise ConnectionError("no association")
        return peer

    def store(self, peer: socket.socket, uid: str, whole: bytes) -> None:
        message = wire.pdu(4, wire.pdv(1, 3, wire.command_set(*wire.store_elements(CT, uid.encode()))))
        step = wire.MAX_PDU_LENGTH - 6
        for at in range(0, len(whole), step):
            fragment = whole[at : at + step]
            message += wire.pdu(4, wire.pdv(1, 2 if at + step >= len(whole) else 0, fragment))
        peer.sendall(message)
        kind, value = wire.read_pdu(peer)
        if kind != 4 or value[-2:] != b"\0\0" and b"\0\0\x00\x09\x02\0\0\0\0\0" not in value:
            raise ConnectionError("not stored")


class Archive(Process):
    def __init__(self, directory: Path):
        self.directory, self.port = directory, free_port()
        directory.mkdir()
        super().__init__(self.command)

    def command(self) -> subprocess.Popen:
        # --unique-filenames: a name for each file that comes.
        arguments = ["storescp", "+uf", "--fork", "-aet", "ARCHIVE", "-od", str(self.directory), str(self.port)]
        return subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def received(self) -> tuple[collections.Counter, int]:
        """How often each instance has come whole, and how many files are cut short."""
        whole, cut = collections.Counter(), 0
        for entry in os.scandir(self.directory):
            with open(entry.path, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 64))
                end = file.read()
            uid = end.strip().decode(errors="replace") if len(end) == 64 else ""
            if uid.startswith("1.2.826.") and all(part.isdigit() for part in uid.split(".")):
                whole[uid] += 1
            else:
                cut += 1
        return whole, cut


def configuration(directory: Path, port: int, archives: list[Archive], retention: bool) -> Path:
    tables = [f'[node]\nlisten = "127.0.0.1:{port}"\n[storage]\nroot = "{directory / "storage"}"\n[admin]\nlisten = "off"\n[delivery]\nto = ["a0", "a1"]\n']
    if retention:
        tables.append('[retention]\nmax_bytes = "4 MiB"\nlow_water = 0.5\n')
    for number, archive in enumerate(archives):
        tables.append(f'[[destination]]\nname = "a{number}"\nkind = "dicom"\naddress = "127.0.0.1:{archive.port}"\ncalled = "ARCHIVE"\nattempts = 1000\n')
    path = directory / "node.toml"
    path.write_text("\n".join(tables))
    return path


def start_node(directory: Path, config: Path) -> subprocess.Popen:
    with (directory / "node.log").open("ab") as log:
        arguments = [str(launch.program()), "run", "--config", str(config)]
        process = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.PIPE, stderr=log, env=launch.environment())
    if launch.start_up_lines(process) is None:
        sys.exit(f"the node does not start: {(directory / 'node.log').read_text()[-2000:]}")
    return process


def tidegate(config: Path, *arguments: str) -> tuple[int, str]:
    output = subprocess.run([str(launch.program()), *arguments, "--config", str(config)], capture_output=True, text=True, env=launch.environment())
    return output.returncode, output.stdout


def owed(config: Path) -> int:
    code, text = tidegate(config, "outbox", "--json")
    rows = json.loads(text)["destinations"] if code in (0, 1) and text else [{"waiting": 1, "retrying": 0}]
    return sum(row["waiting"] + row["retrying"] for row in rows)


def parser(description: str) -> argparse.ArgumentParser:
    """What every run with kills can be told."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kills", nargs="?", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    return arguments


def under_kills(options, victims: list[Process], senders: list[threading.Thread], until: threading.Event, after_s: tuple, down_s: list, progress) -> None:
    """Lets the senders send while one of the victims after the other is killed and started again; then ends the senders."""
    rng = random.Random(options.seed)
    for sender in senders:
        sender.start()
    for number in range(options.kills):
        time.sleep(rng.uniform(*after_s))
        victim = rng.choice(victims)
        victim.kill()
        time.sleep(rng.choice(down_s))
        victim.revive()
        if (number + 1) % 20 == 0:
            print(f"{number + 1} kills, {progress()}", flush=True)
    until.set()
    for sender in senders:
        sender.join(120)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--retention", action="store_true")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as top:
        directory = Path(top)
        archives = [Archive(directory / f"archive{number}") for number in range(2)]
        port = free_port()
        config = configuration(directory, port, archives, options.retention)
        node = Process(lambda: start_node(directory, config))
        until = threading.Event()
        senders = [Sender(number, port, until) for number in range(SENDERS)]
        try:
            progress = lambda: f"{sum(len(sender.acknowledged) for sender in senders)} acknowledged"
            under_kills(options, [node, node, *archives], senders, until, KILL_AFTER_S, [0, 0, 0.3], progress)
            return judge(options, directory, config, node, archives, [uid for sender in senders for uid in sender.acknowledged])
        finally:
            for process in [node, *archives]:
                process.end()


def judge(options, directory: Path, config: Path, node: Process, archives: list[Archive], acknowledged: list[str]) -> int:
    deadline = time.monotonic() + CATCH_UP_LIMIT_S
    while owed(config) and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(1)
    wrong = []
    print(f"seed {options.seed}: {node.kills} kills of the node, {[archive.kills for archive in archives]} of the archives; {len(acknowledged)} acknowledged")
    for number, archive in enumerate(archives):
        whole, cut = archive.received()
        lost = [uid for uid in acknowledged if uid not in whole]
        repeats = sum(whole[uid] - 1 for uid in whole)
        of_a_kill = repeats / max(1, node.kills + archive.kills)
        print(f"a{number}: {len(whole)} instances, {len(lost)} lost, {repeats} repeats ({of_a_kill:.1f} a kill, at most {max(whole.values(), default=0)} times one), {cut} cut short by kills")
        wrong += [f"a{number} lacks {uid}" for uid in lost[:10]]
        if of_a_kill > MOST_REPEATS_OF_A_KILL:
            wrong.append(f"a{number} had {repeats} repeats")
    stored = sum(1 for path in (directory / "storage").rglob("*.dcm") if ".tidegate" not in path.parts)
    print(f"{stored} files are left in the node")
    code, text = tidegate(config, "reconcile", "--json")
    if code != 0:
        wrong.append(f"reconcile exits with {code}: {text[:2000]}")
    for one in wrong:
        print(one)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
