"""A node with its defaults over a catalogue of many instances, as the example `generate` of src/catalogue makes one: how soon it serves after a kill,
what people wait for, what a batch costs, and what stays resident; and how fast a rebuild reads files.

    TIDEGATE_BIN=target/release/tidegate LOADTEST_BIN=target/release/tidegate-loadtest \\
        python3 tests/bench/catalogue.py FILE DIRECTORY [large|cost|rebuild]...

FILE is copied into new storage roots below DIRECTORY. No file of an instance is below them, so the first catch-up finds all of them gone: this
too is measured, since nothing else changes so much of a catalogue. The figures are printed and judged by nobody.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import launch  # noqa: E402
import peers  # noqa: E402

KILLS = 5
ROUNDS = 5
# As in `generate`.
STUDIES = 100_000
STUDIES_OF_PATIENT = 2


def mixed(number: int) -> int:
    """splitmix64, as the generator has it."""
    mask = (1 << 64) - 1
    number = (number + 1) * 0x9E37_79B9_7F4A_7C15 & mask
    number = (number ^ number >> 30) * 0xBF58_476D_1CE4_E5B9 & mask
    number = (number ^ number >> 27) * 0x94D0_49BB_1331_11EB & mask
    return number ^ number >> 31


def study_uid(study: int) -> str:
    return f"1.2.840.113619.2.55.3.{2_831_183_874 + study % 7}.{1_190_000_000 + study * 61}.{study}"


def patient_id(study: int) -> str:
    return f"{mixed(study // STUDIES_OF_PATIENT) % 100_000_000:08}"


def accession_number(study: int) -> str:
    return f"ACC{mixed(study + 7) % 1_000_000_000:09}"


class Node:
    """A node on a root, with its HTTP surface."""

    def __init__(self, root: Path, **settings: str):
        self.root = root
        self.admin = peers.free_port()
        environment = launch.environment(admin__listen=f"127.0.0.1:{self.admin}", log__level="error", **settings)
        began = time.monotonic()
        self.process = subprocess.Popen(
            [launch.program(), "run", "--listen", "127.0.0.1:0", "--storage", root],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.port = launch.port(launch.start_up_lines(self.process))
        while not self.is_ready():
            time.sleep(0.001)
        self.started_s = time.monotonic() - began

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()
            return self.get("/ready")[0] == 200
        return False

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)

    def get(
        self, path: str, connection: http.client.HTTPConnection | None = None, method: str = "GET"
    ) -> tuple[int, bytes]:
        token = self.root.joinpath(".tidegate/admin.token").read_text().strip()
        connection = connection or self.connection()
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def state(self) -> dict:
        return json.loads(self.get("/api/catalogue")[1])

    def metric(self, name: str) -> float:
        found = re.search(rf"^tidegate_{name} (\S+)$", self.get("/metrics")[1].decode(), re.MULTILINE)
        return float(found[1])

    def memory_mib(self, key: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024

    def cpu_us(self) -> float:
        """User and system time so far, of all threads, to the nanosecond of the scheduler."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in tasks) / 1000

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        launch.terminate(self.process)
        launch.wait(self.process)

    def wait_until_current(self) -> float:
        began = time.monotonic()
        while self.state()["condition"] != "current":
            time.sleep(0.1)
        return time.monotonic() - began

    def tiny(self, count: int = 20_000) -> float:
        """Sends instances of 10 KiB over 8 associations; how many a second."""
        with tempfile.NamedTemporaryFile(suffix=".json") as result:
            load = [launch.program("LOADTEST_BIN"), "run", "--scenario", "tiny", "--instances", str(count), "--called-ae", "TIDEGATE"]
            done = subprocess.run(
                [*load, "--target", f"127.0.0.1:{self.port}", "--result", result.name], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said = json.loads(Path(result.name).read_text())
        return said["totals"]["acknowledged"] / said["elapsed_s"]


def say(*words) -> None:
    print(*words, f"(load average {os.getloadavg()[0]:.1f})", flush=True)


def ask(node: Node, what: str, times: int, path) -> None:
    connection, spent, answers = node.connection(), [], 0
    for at in range(times):
        began = time.perf_counter()
        status, body = node.get(path(at), connection)
        spent.append(1000 * (time.perf_counter() - began))
        assert status == 200, (path(at), status, body)
        answers += len(json.loads(body).get("studies", [1])) if body.startswith(b"{") else 0
    spent.sort()
    p50, p99 = spent[len(spent) // 2], spent[(len(spent) - 1) * 99 // 100]
    say(f"{what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {answers} found of {times}")


def questions(node: Node) -> None:
    def any_study(at: int) -> int:
        return mixed(at * 31 + 5) % STUDIES

    # What HTTP and this program take.
    ask(node, "nothing", 1000, lambda at: "/live")
    ask(node, "study by UID", 1000, lambda at: f"/api/studies/{study_uid(any_study(at))}")
    ask(node, "newest 50", 300, lambda at: "/api/studies")
    ask(node, "patient", 300, lambda at: f"/api/studies?patient={patient_id(any_study(at))}")
    ask(node, "accession number", 300, lambda at: f"/api/studies?accession={accession_number(any_study(at))}")
    for text in ["0", "123", "Name1", "ACC12", "1.2", "MODALITY07"]:
        ask(node, f"typed {text}", 20, lambda at, text=text: f"/api/studies?text={text}")


def prepared(directory: Path, name: str, file: Path | None) -> Path:
    """A storage root, with a copy of the catalogue."""
    root = directory / name
    root.joinpath(".tidegate").mkdir(parents=True)
    if file:
        for ending in ["", "-wal"]:
            if (of := Path(f"{file}{ending}")).exists():
                shutil.copy(of, root / f".tidegate/catalogue.sqlite{ending}")
    return root


def batch_cost(node: Node, count: int) -> tuple[float, float]:
    """Records entered a second of transaction time, and instances a second of the load."""
    before, entered = node.metric("catalogue_batch_duration_seconds_sum"), node.metric("catalogue_entered_total")
    rate = node.tiny(count)
    while node.metric("catalogue_entered_total") < entered + count:
        time.sleep(0.05)
    return count / (node.metric("catalogue_batch_duration_seconds_sum") - before), rate


def large(directory: Path, file: Path) -> None:
    root = prepared(directory, "large", file)
    node = Node(root)
    say(f"first start: {node.started_s:.2f} s")
    starts = []
    for _ in range(KILLS):
        # The catch-up of the start before is under way.
        time.sleep(1)
        node.kill()
        node = Node(root)
        starts.append(node.started_s)
    say(f"starts after kill -9: {', '.join(f'{start:.2f}' for start in starts)} s, median {statistics.median(starts):.2f}")
    say("while catching up:")
    questions(node)
    node.wait_until_current()
    say(f"catch-up that finds everything gone: {node.state()['work']}")
    # The next one makes sure, and those behind it pass over what is gone.
    for _ in range(2):
        node.stop()
        node = Node(root)
        node.wait_until_current()
        say(f"catch-up at the next start: {node.state()['work']}")
    say("current:")
    questions(node)
    say(f"resident: {node.memory_mib('VmRSS'):.0f} MiB, at most {node.memory_mib('VmHWM'):.0f} MiB")
    node.stop()
    resident(root)
    rates(directory, root)


def resident(root: Path) -> None:
    """The same load and the same questions without and with the catalogue, in turns."""
    peaks: dict[str, list[float]] = {"off": [], "auto": []}
    for _ in range(ROUNDS):
        for path, taken in peaks.items():
            node = Node(root, catalogue__path=path, storage__durability="none")
            node.tiny()
            if path == "auto":
                node.wait_until_current()
                for at in range(100):
                    node.get(f"/api/studies/{study_uid(mixed(at) % STUDIES)}")
                    node.get("/api/studies")
            taken.append(node.memory_mib("VmHWM"))
            node.stop()
    off, on = (statistics.median(taken) for taken in peaks.values())
    say(f"resident at most: {off:.0f} MiB without, {on:.0f} MiB with the catalogue, {on - off:+.0f} MiB")


def rates(directory: Path, root: Path) -> None:
    """Batches of the large catalogue and of an empty one, in turns."""
    costs: dict[str, list[float]] = {"empty": [], "large": []}
    loads: dict[str, list[float]] = {"empty": [], "large": []}
    for number in range(ROUNDS):
        for name in costs:
            node = Node(root if name == "large" else prepared(directory, f"empty-{number}", None), storage__durability="none")
            node.wait_until_current()
            cost, load = batch_cost(node, 20_000)
            costs[name].append(cost)
            loads[name].append(load)
            node.stop()
    say_ratio("records a second of transaction, large of empty", costs["large"], costs["empty"])
    say_ratio("instances a second, large of empty", loads["large"], loads["empty"])


def cost(directory: Path) -> None:
    """A tiny instance, unsynced, with and without the catalogue, in turns. On a filesystem in memory there is no disk in the figures."""
    spent: dict[str, list[float]] = {"auto": [], "off": []}
    loads: dict[str, list[float]] = {"auto": [], "off": []}
    for number in range(2 * ROUNDS):
        for path in spent:
            root = prepared(directory, f"{path}-{number}", None)
            node = Node(root, catalogue__path=path, storage__durability="none")
            before = node.cpu_us()
            loads[path].append(node.tiny())
            # The last batch.
            time.sleep(0.3)
            spent[path].append((node.cpu_us() - before) / 20_000)
            node.stop()
            shutil.rmtree(root)
    say_ratio("instances a second, with of without", loads["auto"], loads["off"])
    say_ratio("microseconds of CPU an instance, with of without", spent["auto"], spent["off"])
    differences = sorted(on - off for on, off in zip(spent["auto"], spent["off"], strict=True))
    say(f"CPU more: {statistics.median(differences):.1f} us ({differences[0]:.1f} to {differences[-1]:.1f})")


def rebuild(directory: Path) -> None:
    root = prepared(directory, "rebuilt", None)
    node = Node(root, storage__durability="none")
    node.tiny(60_000)
    node.wait_until_current()
    rates, spent = [], []
    for _ in range(ROUNDS):
        number, before = node.state()["work"]["number"], node.cpu_us()
        node.get("/api/catalogue/rebuild", method="POST")
        while (work := node.state()["work"])["number"] == number or work["is_running"]:
            time.sleep(0.01)
        rates.append(work["read"] / work["took_ms"] * 1000)
        spent.append((node.cpu_us() - before) / work["read"])
    node.stop()
    say(f"rebuild of 60,000: {statistics.median(rates):,.0f} files/s ({min(rates):,.0f} to {max(rates):,.0f})")
    say(f"CPU of a file: {statistics.median(spent):.1f} us ({min(spent):.1f} to {max(spent):.1f})")


def say_ratio(what: str, of: list[float], to: list[float]) -> None:
    pairs = [one / other for one, other in zip(of, to, strict=True)]
    medians = f"{statistics.median(of):,.1f} of {statistics.median(to):,.1f}"
    say(f"{what}: {medians}, {statistics.median(pairs):.2f} in pairs ({min(pairs):.2f} to {max(pairs):.2f})")


def main() -> None:
    file, below, *parts = sys.argv[1:]
    directory = Path(tempfile.mkdtemp(prefix="tidegate-catalogue-", dir=below))
    try:
        for part in parts or ["large", "cost", "rebuild"]:
            if part == "large":
                large(directory, Path(file))
            else:
                {"cost": cost, "rebuild": rebuild}[part](directory)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
