"""Makes the conditions of docs/observe.md with a real node, and keeps two records of each beside this file: its last statistics lines, and what
Prometheus would have scraped of it.

tests/tidy/conditions.rs holds the table to the lines (NAME.log), alerts.py the alerts to the series (NAME.series: those that conf/prometheus/alerts.yml
reads, a sample every half minute). Run it again, as root, when a figure of the line or of /metrics changes its meaning; it takes 25 minutes:

  cargo build --features test-faults && cargo build -p tidegate-loadtest
  TIDEGATE_BIN=target/debug/tidegate LOADTEST_BIN=target/debug/tidegate-loadtest python3 tests/conditions/record.py [NAME...]

A condition is made by real means: a disk held to a number of operations a second or frozen, a quota of processor time, a budget and a
number of writers from the configuration, senders that take their time, a reserve of disk that is not there, and a build that leaks. The rest of the machine should be
quiet meanwhile.
"""

import contextlib
import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "interop"), str(HERE.parent / "disks")]

import alerts  # noqa: E402
import ct  # noqa: E402
import ground  # noqa: E402
import launch  # noqa: E402

GROUPS = Path("/sys/fs/cgroup")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ADMIN = re.compile(r"^admin: (http://\S+)/", re.MULTILINE)
INTERVAL_S = 5
LINES = 3
SCRAPE_LIMIT_S = 10
LASTS_S = 11 * 60 - 10
KEPT_S = 5
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
    common = ["--target", f"127.0.0.1:{port}", "--scenario", "ct8", "--duration", "1h"]
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
    with ground.memory(directory / "memory", "4G") as memory:
        image = memory / "image"
        ground.make_ext4(image, "3G")
        with ground.looped(image) as device, ground.mounted(device, directory / "disk", "-o", "discard") as where:
            yield Disk(device, where)


class Record:
    """What is kept of a condition: the node's log, and its series as a row of samples each; none where a scrape had no answer."""

    def __init__(self, log: Path):
        self.log = log
        self.scrapes: list[dict[str, str]] = []

    def lines(self) -> list[str]:
        text = COLOUR.sub("", self.log.read_text())
        return [line for line in text.splitlines() if " statistics " in line and " interval_ms=" in line]

    def scrape(self, url: str) -> None:
        samples = {"up": "0"}
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"{url}/metrics", timeout=SCRAPE_LIMIT_S) as answer:
                text = answer.read().decode()
            samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
            samples["up"] = "1"
        self.scrapes.append(samples)

    def series(self) -> list[tuple[str, str]]:
        """Those that the rules read, and their samples in the notation of promtool."""
        read = set(re.findall(r"\b(?:tidegate|process)_[a-z_]+|\bup\b", alerts.RULES.read_text()))
        found = sorted({name for samples in self.scrapes for name in samples if name.split("{")[0] in read})
        return [(name, self._samples(name)) for name in found]

    def _samples(self, name: str) -> str:
        values = [samples.get(name) for samples in self.scrapes]
        if len(set(values)) == 1:
            return f"{values[0]}x{len(values) - 1}"
        # As Prometheus has it, a series that was there ends with a scrape without it.
        was_there = itertools.accumulate((value is not None for value in values), max)
        return " ".join(value or ("stale" if there else "_") for value, there in zip(values, was_there))


@contextlib.contextmanager
def repeated(action, period_s: float):
    """Does it at once and then at each period, on a thread of its own: a disk that hangs keeps nobody else."""
    over = threading.Event()

    def repeat() -> None:
        began, turns = time.monotonic(), 0
        while not over.wait(max(0.0, began + turns * period_s - time.monotonic())):
            action()
            turns += 1

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def make_room(root: Path) -> None:
    """Takes files away when half of the disk is used, as a system that fetches them does."""
    free = os.statvfs(root)
    if free.f_bavail * 2 > free.f_blocks:
        return
    for directory, _, names in os.walk(root):
        for path in (Path(directory) / name for name in names if ".tidegate" not in directory):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > KEPT_S:
                    path.unlink()


@contextlib.contextmanager
def node(disk: Disk, record: Record, **settings: str):
    """A node that says a line every few seconds and is scraped; its process and its port."""
    settings = {"log__statistics_interval": f"{INTERVAL_S}s", "admin__listen": "127.0.0.1:0"} | settings
    leak = settings.pop("leak", None)
    environment = launch.environment(**settings) | ({"TIDEGATE_TEST_LEAK_KIB": leak} if leak else {})
    root = disk.where / "root"
    with record.log.open("wb") as stderr:
        command = [launch.program(), "run", "--listen", "127.0.0.1:0", "--storage", root]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment
        )
        try:
            started = launch.start_up_lines(process)
            url = ADMIN.search(started)[1]
            with repeated(lambda: record.scrape(url), alerts.SCRAPE_S), repeated(lambda: make_room(root), INTERVAL_S):
                yield process, launch.port(started)
        finally:
            process.kill()
            process.wait()


def settle() -> None:
    """Waits until each alert has had its time; the last lines and scrapes are of the condition alone."""
    time.sleep(LASTS_S)


def idle(disk: Disk, record: Record):
    with node(disk, record) as (_, port):
        open_associations = [Association(port, "IDLE") for _ in range(2)]
        settle()
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


def slow_disk(disk: Disk, record: Record):
    with node(disk, record) as (process, port), held_to(disk, process, SLOW_DISK_OPERATIONS_A_SECOND):
        with load(port, "--size", "128KiB"):
            settle()


def slow_disk_large_instances(disk: Disk, record: Record):
    limits = (SLOW_DISK_OPERATIONS_A_SECOND, SLOW_DISK_BYTES_A_SECOND)
    with node(disk, record) as (process, port), held_to(disk, process, *limits), load(port, "--size", "12MiB"):
        settle()


def refusing(disk: Disk, record: Record):
    with node(disk, record, storage__min_free="1000 TiB") as (_, port), paced(port, 4, 64 << 10, 1e9, pause_s=0.1):
        settle()


def memory_pressure(disk: Disk, record: Record):
    settings = {"memory__budget": "32 MiB", "associations__max": "64"}
    with node(disk, record, leak="256", **settings) as (_, port), paced(port, 2, 64 << 10, 1e9, pause_s=0.5):
        settle()


def slow_senders(disk: Disk, record: Record):
    with node(disk, record) as (_, port), paced(port, 6, 256 << 10, 100_000):
        settle()


def leak(disk: Disk, record: Record):
    with node(disk, record, leak="8") as (_, port), paced(port, 2, 64 << 10, 1e9, pause_s=0.5):
        settle()


def budget_exhausted(disk: Disk, record: Record):
    settings = {"memory__budget": "32 MiB", "associations__max": "64", "associations__max_per_address": "64"}
    with node(disk, record, **settings) as (_, port), paced(port, 40, 3 * MIB, 400_000):
        settle()


def too_few_writers(disk: Disk, record: Record):
    with node(disk, record, writers__count="1") as (process, port), held_to(disk, process, FAST_DISK_OPERATIONS_A_SECOND):
        with load(port, "--associations", "64", "--size", "128KiB"):
            settle()


def cpu_starved(disk: Disk, record: Record):
    quota = {
        "cpu.cfs_quota_us": str(int(100_000 * QUOTA)),
        "cpu.max": f"{int(100_000 * QUOTA)} 100000",
    }
    with node(disk, record) as (process, port), group("cpu", process.pid, quota), load(port, "--size", "64KiB"):
        settle()


def disk_hung(disk: Disk, record: Record):
    with node(disk, record) as (_, port), load(port, "--size", "128KiB", "--rate", "100"):
        time.sleep(2 * INTERVAL_S)
        ground.run("fsfreeze", "-f", disk.where)
        try:
            settle()
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
# Takes all processors that there are; the others are made beside each other.
ALONE = [too_few_writers]


def name_of(condition) -> str:
    return condition.__name__.replace("_", "-")


def make(condition) -> None:
    name = name_of(condition)
    with tempfile.TemporaryDirectory(prefix="tidegate-conditions-") as directory:
        record = Record(Path(directory) / "log")
        with filesystem(Path(directory)) as disk:
            condition(disk, record)
        (HERE / f"{name}.log").write_text("\n".join(record.lines()[-LINES:]) + "\n")
        (HERE / f"{name}.series").write_text("".join(f"{series} {samples}\n" for series, samples in record.series()))
        print(f"{name}: {record.lines()[-1]}", flush=True)


def main() -> None:
    wanted = [condition for condition in CONDITIONS if not sys.argv[1:] or name_of(condition) in sys.argv[1:]]
    for together in ([one for one in wanted if one not in ALONE], *([one] for one in wanted if one in ALONE)):
        with ThreadPoolExecutor(max_workers=len(CONDITIONS)) as pool:
            for made in [pool.submit(make, condition) for condition in together]:
                made.result()


main()
