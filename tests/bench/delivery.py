"""What a delivery costs, and how fast it is: a node whose destination is down takes instances; the destination comes, and gets them; then the same files go
to it by a bare sender and by dcmsend.

    TIDEGATE_BIN=target/release/tidegate LOADTEST_BIN=target/release/tidegate-loadtest BARE_BIN=target/release/examples/bare \\
        python3 tests/bench/delivery.py DIRECTORY [SCENARIO COUNT [CONNECTIONS]]

The program `bare` is an example of this package (`cargo build --release --example bare`). Storage roots are made below DIRECTORY, and left. The figures are printed and judged by nobody.
"""

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import launch  # noqa: E402
import peers  # noqa: E402

ROUNDS = 3


def bare(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen([launch.program("BARE_BIN"), *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options)


def rate(done: subprocess.Popen) -> tuple[float, float]:
    """Instances and MB a second, as `bare sink` saw it."""
    instances, _, bytes_, _, seconds, _ = done.communicate()[0].split()
    return int(instances) / float(seconds), int(bytes_) / float(seconds) / 1e6


class Node:
    def __init__(self, root: Path, tables: str = ""):
        self.admin = peers.free_port()
        settings = {"admin__listen": f"127.0.0.1:{self.admin}", "log__level": "error"}
        command = [launch.program(), "run", "--listen", "127.0.0.1:0", "--storage", root]
        if tables:
            configuration = root.with_suffix(".toml")
            configuration.write_text(tables)
            command += ["--config", configuration]
        self.root = root
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=launch.environment(**settings)
        )
        self.port = launch.port(launch.start_up_lines(self.process))

    def load(self, scenario: str, count: int) -> float:
        """How many a second are acknowledged."""
        said = self.load_result(scenario, count)
        return said["totals"]["acknowledged"] / said["elapsed_s"]

    def load_result(self, scenario: str, count: int) -> dict:
        """The result of the load test."""
        with tempfile.NamedTemporaryFile(suffix=".json") as result:
            load = [launch.program("LOADTEST_BIN"), "run", "--scenario", scenario, "--instances", str(count), "--called-ae", "TIDEGATE"]
            done = subprocess.run(
                [*load, "--target", f"127.0.0.1:{self.port}", "--result", result.name], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return json.loads(Path(result.name).read_text())

    def cpu_s(self) -> float:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024

    def stop(self) -> None:
        launch.terminate(self.process)
        launch.wait(self.process)


def files(root: Path) -> str:
    """What was stored, in the order of the queue, as `bare send` reads it."""
    db = sqlite3.connect(root / ".tidegate/catalogue.sqlite")
    rows = db.execute(
        "SELECT path, sop_class_uid, transfer_syntax_uid, sop_instance_uid FROM instances ORDER BY study_instance_uid, series_instance_uid, instance_number"
    )
    lines = []
    for path, sop_class, syntax, instance in rows:
        with open(root / path, "rb") as file:
            head = file.read(144)
        lines.append("\t".join([str(root / path), str(144 + int.from_bytes(head[140:144], "little")), sop_class, syntax, instance]))
    return "\n".join(lines)


def evict(root: Path) -> None:
    """What was stored leaves the page cache, as it does when a node has stored it."""
    for path in root.rglob("*.dcm"):
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def say(*words) -> None:
    print(*words, f"(load average {os.getloadavg()[0]:.1f})", flush=True)


def main() -> None:
    directory = Path(sys.argv[1])
    scenario, count, connections = (sys.argv[2:] + ["ct", "2000", "2"][len(sys.argv) - 2 :])[:3]
    count, connections = int(count), int(connections)
    for turn in range(ROUNDS):
        free = peers.free_port()
        alone = Node(Path(tempfile.mkdtemp(dir=directory, prefix="alone-")))
        rate_alone = alone.load(scenario, count)
        resident_alone = alone.resident_mib()
        alone.stop()
        tables = (
            '[delivery]\nto = ["archive"]\n[[destination]]\nname = "archive"\nkind = "dicom"\n'
            f'address = "127.0.0.1:{free}"\ncalled = "SINK"\nconnections = {connections}\n'
        )
        node = Node(Path(tempfile.mkdtemp(dir=directory, prefix="owing-")), tables)
        rate_down = node.load(scenario, count)
        say(f"{turn}: {scenario}, destination down: {rate_down:.0f} instances/s, {rate_down / rate_alone:.3f} of alone; "
            f"resident {node.resident_mib():.0f} MiB, alone {resident_alone:.0f}")
        evict(node.root)
        cpu, began = node.cpu_s(), time.monotonic()
        sink = bare("sink", free, count)
        ours = rate(sink)
        spent = time.monotonic() - began
        time.sleep(0.5)
        gigabytes = ours[1] * count / ours[0] / 1e3
        say(f"   node: {ours[0]:.0f} instances/s, {ours[1]:.0f} MB/s, {(node.cpu_s() - cpu) / gigabytes:.2f} s CPU/GB; all there {spent:.1f} s after the destination came")
        node.stop()
        listed = files(node.root)

        evict(node.root)
        sink = bare("sink", free, count)
        time.sleep(0.2)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        sender = bare("send", f"127.0.0.1:{free}", "SINK", connections, stdin=subprocess.PIPE)
        sender.communicate(listed)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        theirs = rate(sink)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        say(f"   bare sender: {theirs[0]:.0f} instances/s, {theirs[1]:.0f} MB/s, {used / gigabytes:.2f} s CPU/GB; node {ours[0] / theirs[0]:.2f} of it")

        evict(node.root)
        sink = bare("sink", free, count)
        time.sleep(0.2)
        subprocess.run(["dcmsend", "-aec", "SINK", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1", str(free), node.root], capture_output=True, check=False)
        sent = rate(sink)
        say(f"   dcmsend: {sent[0]:.0f} instances/s; node {ours[0] / sent[0]:.2f} of it")


if __name__ == "__main__":
    main()
