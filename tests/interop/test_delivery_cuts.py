"""Delivery through a balancer that is killed and started again: nothing is lost, whatever was under way."""

import itertools
import threading
import time

import pydicom

import corpus
from balancer import Haproxy
from test_delivery import eventually, gateway, owed, send, storescp


class Kills(threading.Thread):
    """Kills a balancer after some tenths of a second, and starts it again, until it is ended."""

    def __init__(self, balancer: Haproxy):
        super().__init__()
        self.balancer, self.count, self.until = balancer, 0, threading.Event()

    def run(self) -> None:
        for pause_s in itertools.cycle([0.05, 0.4, 0.1, 0.9]):
            if self.until.wait(pause_s):
                return
            self.balancer.kill()
            self.count += 1
            self.balancer.start()

    def end(self) -> None:
        self.until.set()
        self.join()


def test_what_a_balancer_cuts_off_arrives(start_node, tmp_path):
    paths = lambda: (tmp_path / "archive").glob("*.dcm")
    arrived = lambda: {str(pydicom.dcmread(path, force=True).get("SOPInstanceUID")) for path in paths()}
    with storescp(tmp_path / "archive", "--unique-filenames") as port:
        balancer = Haproxy(tmp_path / "haproxy", port)
        balancer.start()
        kills = Kills(balancer)
        kills.start()
        try:
            # What is cut off twice counts as an attempt of its own.
            node = gateway(start_node, tmp_path, balancer.port, "ARCHIVE", 'bandwidth = "1 MiB"', attempts=20)
            send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:60])
            uids = owed(node)
            time.sleep(3)
            kills.end()
            assert kills.count > 3
            assert eventually(lambda: len(list(paths())) >= len(uids) and arrived() >= uids, 120), f"missing: {uids - arrived()}"
        finally:
            kills.end()
            balancer.stop()
