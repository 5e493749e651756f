"""What very many open studies cost a node at rest: memory, and the CPU time of their timers.

    TIDEGATE_BIN=target/release/tidegate python tests/bench/open_studies.py [STUDIES]

A node is started on an empty root, and on one with so many studies that are due in a week, each with an instance and a series. Each is looked at for a
minute, when its catalogue has caught up. The studies are received by the node itself.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import kills
import wire

SENDERS, MINUTE_S = 4, 60
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Sender(kills.Sender):
    """Stores its part of the studies, an instance each, with as many requests under way as an association may have."""

    def __init__(self, number: int, port: int, studies: int):
        super().__init__(number, port, threading.Event())
        self.studies = studies

    def run(self) -> None:
        peer = self.associate()
        for count in range(self.studies):
            study = f"1.2.826.{self.number}.{count}"
            self.store(peer, f"{study}.1.1", kills.dataset(f"{study}.1.1", study, 100))
        peer.sendall(wire.pdu(5, bytes(4)))
        wire.read_pdu(peer)
        peer.close()


def configuration(directory: Path, port: int) -> Path:
    path = directory / "node.toml"
    path.write_text(
        f'[node]\nlisten = "127.0.0.1:{port}"\n[storage]\nroot = "{directory / "storage"}"\ndurability = "none"\n[admin]\nlisten = "off"\n'
        '[completeness]\nstudy_quiet = "7days"\nseries_quiet = "7days"\n'
    )
    return path


def figures(pid: int) -> tuple[float, float]:
    """Resident memory in MiB, and CPU seconds so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return resident, (int(fields[11]) + int(fields[12])) * TICK_S


def at_rest(directory: Path, config: Path, seconds: int) -> tuple[float, float]:
    """Resident memory in MiB and CPU in percent of a core, of a node whose catalogue has caught up."""
    log = directory / "node.log"
    seen = log.read_text().count("catalogue caught up") if log.exists() else 0
    node = kills.Process(lambda: kills.start_node(directory, config))
    try:
        while log.read_text().count("catalogue caught up") == seen:
            time.sleep(0.5)
        time.sleep(15)  # the caches are given back
        _, before = figures(node.process.pid)
        time.sleep(seconds)
        resident, after = figures(node.process.pid)
        return resident, 100 * (after - before) / seconds
    finally:
        node.kill()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("studies", nargs="?", type=int, default=100_000)
    arguments.add_argument("--seconds", type=int, default=MINUTE_S)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="open-studies-") as top:
        directory, port = Path(top), kills.free_port()
        config = configuration(directory, port)
        empty = at_rest(directory, config, options.seconds)
        node = kills.Process(lambda: kills.start_node(directory, config))
        senders = [Sender(number, port, options.studies // SENDERS) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        time.sleep(3)  # the last are entered
        node.kill()
        full = at_rest(directory, config, options.seconds)
        print(f"no study: {empty[0]:.1f} MiB, {empty[1]:.2f} % of a core")
        print(f"{options.studies} open studies: {full[0]:.1f} MiB, {full[1]:.2f} % of a core; {full[0] - empty[0]:+.1f} MiB, {full[1] - empty[1]:+.2f} %")


if __name__ == "__main__":
    main()
