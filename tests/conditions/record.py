"""Makes the conditions of docs/observe.md with a real node, and records the statistics lines of each beside this file.

tests/tidy/conditions.rs holds the table to the records. Run it again, as root, when a figure of the line changes its meaning:

  cargo build --features test-faults && cargo build -p tidegate-loadtest
  TIDEGATE_BIN=target/debug/tidegate LOADTEST_BIN=target/debug/tidegate-loadtest python3 tests/conditions/record.py [NAME...]

A condition is made by real means: a disk held to a number of operations a second or frozen, a quota of processor time, a budget and a
number of writers from the configuration, senders that take their time, a reserve of disk that is not there, and a build that leaks. The rest of the machine should be
quiet meanwhile.
"""

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "interop"), str(HERE.parent / "disks")]

import ct  # noqa: E402
import ground  # noqa: E402
import launch  # noqa: E402

GROUPS = Path("/sys/fs/cgroup")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INTERVAL_S = 5
LINES = 3
SLOW_DISK_OPERATIONS_A_SECOND = 400
FAST_DISK_OPERATIONS_A_SECOND = 4000
SLOW_DISK_BYTES_A_SECOND = 25_000_000
QUOTA = 0.1
MIB = 1 << 20


class Association:
    """A requestor that sends bytes as they are, at its own pace."""

    def __init__(self, port: int, calling: str):
        self.socket = socket.create_connection(("127.0.0.1", port))
        context = b"\x01\0\0\0" + item(0x30, ct.CT.encode()) + item(0x40, ct.EXPLICIT.encode())
        user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4")
        body = struct.pack(">HH16s16s32x", 1, 0, b"TIDEGATE".ljust(16), calling.encode().ljust(16))
        body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
        self.socket.sendall(pdu(1, body))
        assert self._receive() == 2, "not accepted"

    def store(self, number: int, uid: str, dataset: bytes, bytes_a_second: float) -> None:
        """A C-STORE; the answer is read."""
        affected = uid.encode() + b"\0" * (len(uid) % 2)
        elements = [
            (0x0002, ct.CT.encode() + b"\0" * (len(ct.CT) % 2)),
            (0x0100, struct.pack("<H", 1)),
            (0x0110, struct.pack("<H", number)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 1)),
            (0x1000, affected),
        ]
        command = b"".join(struct.pack("<HHI", 0, tag, len(value)) + value for tag, value in elements)
        command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
        self.socket.sendall(pdu(4, struct.pack(">IBB", len(command) + 2, 1, 3) + command))
        began, part = time.monotonic(), 8192
        for at in range(0, len(dataset), part):
            fragment = dataset[at : at + part]
            is_last = at + part >= len(dataset)
            self.socket.sendall(pdu(4, struct.pack(">IBB", len(fragment) + 2, 1, 2 if is_last else 0) + fragment))
            time.sleep(max(0.0, began + (at + part) / bytes_a_second - time.monotonic()))
        assert self._receive() == 4, "no answer"

    def _receive(self) -> int:
        header = self._exactly(6)
        self._exactly(struct.unpack(">I", header[2:])[0])
        return header[0]

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self.socket.recv(count - len(received))
            assert part, "the node has closed the connection"
            received += part
        return received


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


@contextlib.contextmanager
def paced(port: int, count: int, size: int, bytes_a_second: float, pause_s: float = 0):
    """Senders of `size` bytes an instance, each at its pace."""
    over = threading.Event()

    def send(sender: int) -> None:
        association = Association(port, f"PACED{sender}")
        number = 0
        with contextlib.suppress(OSError, AssertionError):
            while not over.is_set():
                number += 1
                uid = f"1.2.3.{sender}.{number}"
                patient = ct.element(0x0010, 0x0020, b"LO", b"CONDITION")
                image = ct.image(uid, f"1.2.3.{sender}", patient, bytes(size))
                association.store(number % 60_000, uid, image, bytes_a_second)
                over.wait(pause_s)

    threads = [threading.Thread(target=send, args=[sender], daemon=True) for sender in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()


@contextlib.contextmanager
def load(port: int, *arguments: str):
    """The load generator, until the end of the context."""
    common = ["--target", f"127.0.0.1:{port}", "--scenario", "ct8", "--duration", "10m"]
    command = [launch.program("LOADTEST_BIN"), "run", *common, *arguments]
    generator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        generator.kill()
        generator.wait()


@contextlib.contextmanager
def group(controller: str, pid: int, settings: dict[str, str]):
    """A control group with these settings, and the node in it."""
    where = GROUPS / controller if (GROUPS / controller).is_dir() else GROUPS
    where = where / f"tidegate-conditions-{pid}"
    where.mkdir()
    try:
        for name, value in settings.items():
            if (where / name).exists():
                (where / name).write_text(value)
        (where / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (where.parent / "cgroup.procs").write_text(str(pid))
        where.rmdir()


class Disk(NamedTuple):
    """A loop device, and where it is mounted."""

    device: str
    where: Path


@contextlib.contextmanager
def filesystem(directory: Path):
    """An ext4 of its own in memory, which nobody else slows down."""
    with ground.memory(directory / "memory", "7G") as memory:
        image = memory / "image"
        ground.make_ext4(image, "6G")
        with ground.looped(image) as device, ground.mounted(device, directory / "disk") as where:
            yield Disk(device, where)


@contextlib.contextmanager
def node(disk: Disk, log: Path, **settings: str):
    """A node that says a line every few seconds; its process and its port."""
    settings = {"log__statistics_interval": f"{INTERVAL_S}s", "admin__listen": "off"} | settings
    environment = launch.environment(**settings)
    if settings.get("leak"):
        environment["TIDEGATE_TEST_LEAK_KIB"] = settings["leak"]
        del environment["TIDEGATE__LEAK"]
    with log.open("wb") as stderr:
        command = [launch.program(), "run", "--listen", "127.0.0.1:0", "--storage", disk.where / "root"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment
        )
        try:
            yield process, launch.port(launch.start_up_lines(process))
        finally:
            process.kill()
            process.wait()


def lines(log: Path) -> list[str]:
    text = COLOUR.sub("", log.read_text())
    return [line for line in text.splitlines() if " statistics " in line and " interval_ms=" in line]


def settle(log: Path, more: int = 2 + LINES) -> None:
    """Waits for so many lines from now on: the last ones are of the condition alone."""
    wanted = len(lines(log)) + more
    while len(lines(log)) < wanted:
        time.sleep(0.1)


def idle(disk: Disk, log: Path):
    with node(disk, log) as (_, port):
        open_associations = [Association(port, "IDLE") for _ in range(2)]
        settle(log)
        del open_associations


def held_to(disk: Disk, process: subprocess.Popen, operations_a_second: int, bytes_a_second: int = 1 << 40):
    """The disk as one of so many operations and bytes a second, for this process."""
    number = os.stat(disk.device).st_rdev
    name = f"{os.major(number)}:{os.minor(number)}"
    limit = {
        "blkio.throttle.write_iops_device": f"{name} {operations_a_second}",
        "blkio.throttle.write_bps_device": f"{name} {bytes_a_second}",
        "io.max": f"{name} wiops={operations_a_second} wbps={bytes_a_second}",
    }
    return group("blkio", process.pid, limit)


def slow_disk(disk: Disk, log: Path):
    with node(disk, log) as (process, port), held_to(disk, process, SLOW_DISK_OPERATIONS_A_SECOND):
        with load(port, "--size", "128KiB"):
            settle(log)


def slow_disk_large_instances(disk: Disk, log: Path):
    limits = (SLOW_DISK_OPERATIONS_A_SECOND, SLOW_DISK_BYTES_A_SECOND)
    with node(disk, log) as (process, port), held_to(disk, process, *limits), load(port, "--size", "12MiB"):
        # The number of writers follows the disk in the first seconds.
        settle(log, 4 + LINES)


def refusing(disk: Disk, log: Path):
    with node(disk, log, storage__min_free="1000 TiB") as (_, port), paced(port, 4, 64 << 10, 1e9, pause_s=0.1):
        settle(log)


def memory_pressure(disk: Disk, log: Path):
    settings = {"memory__budget": "32 MiB", "associations__max": "64"}
    with node(disk, log, leak="1024", **settings) as (_, port), paced(port, 2, 64 << 10, 1e9, pause_s=0.5):
        settle(log, 4 + LINES)


def slow_senders(disk: Disk, log: Path):
    with node(disk, log) as (_, port), paced(port, 6, 256 << 10, 100_000):
        settle(log)


def leak(disk: Disk, log: Path):
    with node(disk, log, leak="8") as (_, port), paced(port, 2, 64 << 10, 1e9, pause_s=0.5):
        # The sentinel needs sixteen points, seven seconds from one to the next.
        settle(log, 140 // INTERVAL_S)


def budget_exhausted(disk: Disk, log: Path):
    settings = {"memory__budget": "32 MiB", "associations__max": "64"}
    with node(disk, log, **settings) as (_, port), paced(port, 40, 3 * MIB, 400_000):
        settle(log)


def too_few_writers(disk: Disk, log: Path):
    with node(disk, log, writers__count="1") as (process, port), held_to(disk, process, FAST_DISK_OPERATIONS_A_SECOND):
        with load(port, "--associations", "64", "--size", "128KiB"):
            settle(log)


def cpu_starved(disk: Disk, log: Path):
    quota = {
        "cpu.cfs_quota_us": str(int(100_000 * QUOTA)),
        "cpu.max": f"{int(100_000 * QUOTA)} 100000",
    }
    with node(disk, log) as (process, port), group("cpu", process.pid, quota), load(port, "--size", "64KiB"):
        settle(log)


def disk_hung(disk: Disk, log: Path):
    with node(disk, log) as (_, port), load(port, "--size", "128KiB", "--rate", "100"):
        settle(log, 1)
        ground.run("fsfreeze", "-f", disk.where)
        try:
            settle(log)
        finally:
            ground.run("fsfreeze", "-u", disk.where)


CONDITIONS = [
    idle,
    slow_disk,
    slow_disk_large_instances,
    slow_senders,
    refusing,
    memory_pressure,
    leak,
    budget_exhausted,
    too_few_writers,
    cpu_starved,
    disk_hung,
]


def main() -> None:
    names = sys.argv[1:]
    for condition in CONDITIONS:
        name = condition.__name__.replace("_", "-")
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="tidegate-conditions-") as directory:
            log = Path(directory) / "log"
            with filesystem(Path(directory)) as disk:
                condition(disk, log)
            record = HERE / f"{name}.log"
            record.write_text("\n".join(lines(log)[-LINES:]) + "\n")
            print(f"{name}: {lines(log)[-1]}", flush=True)


main()
