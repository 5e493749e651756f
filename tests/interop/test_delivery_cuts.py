"""Delivery through a balancer that is killed and started again: nothing is lost, whatever was under way."""

import itertools
import subprocess
import threading
import time
from pathlib import Path

import pydicom

import corpus
import peers
from test_delivery import eventually, gateway, owed, send, storescp


class Balancer(threading.Thread):
    """HAProxy in front of a port, which is killed after some tenths of a second, and started again, until it is ended."""

    def __init__(self, directory: Path, port: int):
        super().__init__()
        self.port = peers.free_port()
        self.configuration = directory / "haproxy.cfg"
        self.configuration.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen dicom\n bind 127.0.0.1:{self.port}\n server archive 127.0.0.1:{port}\n"
        )
        self.until = threading.Event()
        self.kills = 0
        self.process = None
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen([peers.program("haproxy"), "-db", "-f", self.configuration], stdin=subprocess.DEVNULL)
        peers.wait_for_port(self.process, self.port)

    def run(self) -> None:
        for pause_s in itertools.cycle([0.05, 0.4, 0.1, 0.9]):
            if self.until.wait(pause_s):
                return
            self.process.kill()
            self.process.wait()
            self.kills += 1
            self.begin()

    def end(self) -> None:
        self.until.set()
        self.join()
        self.process.kill()
        self.process.wait()


def test_what_a_balancer_cuts_off_arrives(start_node, tmp_path):
    paths = lambda: (tmp_path / "archive").glob("*.dcm")
    arrived = lambda: {str(pydicom.dcmread(path, force=True).get("SOPInstanceUID")) for path in paths()}
    with storescp(tmp_path / "archive", "--unique-filenames") as port:
        balancer = Balancer(tmp_path, port)
        try:
            # What is cut off twice counts as an attempt of its own.
            node = gateway(start_node, tmp_path, balancer.port, "ARCHIVE", 'bandwidth = "1 MiB"', attempts=20)
            balancer.start()
            send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:60])
            uids = owed(node)
            time.sleep(3)
        finally:
            balancer.until.set()
            balancer.join()
        assert balancer.kills > 3
        assert eventually(lambda: len(list(paths())) >= len(uids) and arrived() >= uids, 120), f"missing: {uids - arrived()}"
        balancer.end()
