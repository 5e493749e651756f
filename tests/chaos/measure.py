"""What a writer that panics costs: how long until its dataset is stored by another, and how much of the throughput is lost to one panic a second.

    TIDEGATE_FAULTS_BIN=target/release/tidegate LOADTEST_BIN=target/release/tidegate-loadtest \\
        PYTHONPATH=tests/interop:tests/chaos python3 tests/chaos/measure.py

Both binaries from `cargo build --release --workspace --features test-faults`. Runs with panics and runs without alternate; the table has each
pair, and the median of the ratios.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path

from test_chaos import FaultyNode

ROUNDS = int(os.environ.get("MEASURE_ROUNDS", "5"))
SECONDS = os.environ.get("MEASURE_SECONDS", "10")
# Unsynced: what the disk does differs more from run to run than what a panic costs.
SETTINGS = {"supervision__max_restarts": "10000", "storage__min_free": "0 B", "storage__durability": "none"}


def load(node: FaultyNode, *flags: str) -> dict:
    command = [os.environ["LOADTEST_BIN"], "run", "--json", "--target", f"127.0.0.1:{node.port}", "--duration", SECONDS, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def panic_every(period_s: float, node: FaultyNode, stop: threading.Event) -> None:
    while not stop.wait(period_s):
        node.arm("writer panic")


def run(scenario: str, period_s: float | None, **settings: str) -> tuple[dict, str]:
    """The result of a load, and the node's log."""
    with tempfile.TemporaryDirectory(dir=".") as directory:
        node = FaultyNode(Path(directory).resolve(), **SETTINGS, **settings)
        stop = threading.Event()
        faults = threading.Thread(target=panic_every, args=(period_s, node, stop))
        if period_s:
            faults.start()
        result = load(node, "--scenario", scenario)
        stop.set()
        if period_s:
            faults.join()
        node.stop()
        return result, node.log_path.read_text()


def replacements_ms(log: str) -> list[float]:
    """From each panic to the record of the writer's end, whose restart is due at once."""
    moment = re.compile(r"^(\S+)Z ")
    began, times = None, []
    for line in log.splitlines():
        at = moment.match(line)
        if at and "panic message_text" in line:
            began = datetime.fromisoformat(at[1])
        elif at and began and "child ended" in line and "writer-" in line:
            times.append((datetime.fromisoformat(at[1]) - began).total_seconds() * 1000)
            began = None
    return times


def main() -> int:
    scenario = sys.argv[1] if len(sys.argv) > 1 else "ct"
    ratios = []
    print(f"scenario {scenario}, {SECONDS} s a run, 16 writers, durability none")
    for _ in range(ROUNDS):
        without, _ = run(scenario, None)
        panicking, log = run(scenario, 1)
        rate = [result["totals"]["acknowledged"] / result["elapsed_s"] for result in (without, panicking)]
        ratios.append(rate[1] / rate[0])
        times = replacements_ms(log)
        failed = sum(panicking["totals"]["refused"].values()) + panicking["totals"]["unanswered"]
        print(f"{rate[0]:8.1f}/s without, {rate[1]:8.1f}/s with {len(times)} panics: {ratios[-1]:.3f}; {failed} failed")
    print(f"median ratio {statistics.median(ratios):.3f}")
    # One writer only, and one panic, since the second restart within ten seconds is delayed on purpose: its dataset waits for its successor.
    for _ in range(ROUNDS):
        result, log = run("sr-tiny", float(SECONDS) * 0.7, writers__count="1")
        worst = max(second["max_ms"] for second in result["series"])
        (replaced,) = replacements_ms(log)
        print(f"one writer: panic to restart {replaced:.2f} ms; longest answer of the run {worst:.1f} ms, median {result['latency']['p50_ms']:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
