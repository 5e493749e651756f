"""What goes on beside something else costs it: deliveries beside receiving, destinations that hang beside those that do not, retention beside receiving.

    TIDEGATE_BIN=… LOADTEST_BIN=target/release/tidegate-loadtest BARE_BIN=target/release/examples/bare \\
        python3 tests/bench/beside.py DIRECTORY receiving|ten|retention [COUNT]

    receiving   ct8, alone and with two destinations that take it at once: rate and p99
    ten         ten destinations that take ct8; then one of them hangs and one refuses: when the other eight have all
    retention   ct8 to one destination, without and with retention, which deletes what was delivered (a TIDEGATE_BIN with the feature test-faults:
                otherwise a study rests for ten minutes first)

Each is done in turns, the ratio is the second of the first. Storage roots are made below DIRECTORY, and removed. The figures are printed and judged by nobody.
"""

import contextlib
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import peers  # noqa: E402
from delivery import Node, bare, say  # noqa: E402

ROUNDS = 3


def tables(ports: list[int], more: str = "") -> str:
    names = [f"d{number}" for number in range(len(ports))]
    destination = '[[destination]]\nname = "{}"\nkind = "dicom"\naddress = "127.0.0.1:{}"\ncalled = "SINK"\n'
    return f"[delivery]\nto = {names}\n{more}\n" + "".join(map(destination.format, names, ports))


@contextlib.contextmanager
def started(directory: Path, configuration: str = ""):
    root = Path(tempfile.mkdtemp(dir=directory, prefix="beside-"))
    node = Node(root, configuration)
    try:
        yield node
    finally:
        node.stop()
        shutil.rmtree(root)


def hanging() -> int:
    """A port that accepts connections, and never says anything."""
    server, held = socket.create_server(("127.0.0.1", 0)), []

    def accept() -> None:
        while True:
            held.append(server.accept())

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def delivering(directory: Path, count: int, ports: list[int], sinks: int, more: str = "") -> tuple[dict, float, float]:
    """The load's result, and when the sinks at the first so many ports had all, from its begin. How many files the node had at the end."""
    with started(directory, tables(ports, more)) as node:
        takers = [bare("sink", port, count) for port in ports[:sinks]]
        time.sleep(0.3)
        began = time.monotonic()
        result = node.load_result("ct8", count)
        for taker in takers:
            taker.communicate()
        took = time.monotonic() - began
        left = sum(1 for _ in node.root.rglob("*.dcm"))
    return result, took, left


def rate(result: dict) -> float:
    return result["totals"]["acknowledged"] / result["elapsed_s"]


def receiving(directory: Path, count: int) -> tuple[float, float]:
    with started(directory) as node:
        alone = node.load_result("ct8", count)
    beside, took, _ = delivering(directory, count, [peers.free_port(), peers.free_port()], 2)
    say(f"alone {rate(alone):.0f}/s, p99 {alone['service']['p99_ms']:.1f} ms; delivering {rate(beside):.0f}/s, p99 {beside['service']['p99_ms']:.1f} ms; "
        f"all delivered twice {took - beside['elapsed_s']:.1f} s after the last was received")
    return rate(beside) / rate(alone), beside["service"]["p99_ms"] / alone["service"]["p99_ms"]


def ten(directory: Path, count: int) -> tuple[float]:
    ports = [peers.free_port() for _ in range(10)]
    last_two = [bare("sink", port, count) for port in ports[8:]]
    _, good, _ = delivering(directory, count, ports, 8)
    for sink in last_two:
        sink.kill()
    ports = [peers.free_port() for _ in range(8)] + [hanging(), peers.free_port()]
    _, bad, _ = delivering(directory, count, ports, 8)
    say(f"eight have all after {good:.1f} s beside two that take all, and after {bad:.1f} s beside one that hangs and one that refuses")
    return (good / bad,)


def retention(directory: Path, count: int) -> tuple[float]:
    without, _, _ = delivering(directory, count, [peers.free_port()], 1)
    deleting, _, left = delivering(directory, count, [peers.free_port()], 1, '[retention]\nmax_bytes = "64 MiB"\nlow_water = 0.5\n')
    say(f"without {rate(without):.0f}/s, deleting {rate(deleting):.0f}/s; {left} of {count} files are left")
    return (rate(deleting) / rate(without),)


def main() -> None:
    directory, what = Path(sys.argv[1]), {"receiving": receiving, "ten": ten, "retention": retention}[sys.argv[2]]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    ratios = [what(directory, count) for _ in range(ROUNDS)]
    print("medians:", *(f"{statistics.median(ratio):.3f}" for ratio in zip(*ratios)), f"(load average {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
