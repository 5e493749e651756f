"""HAProxy in front of a port."""

from pathlib import Path

import peers
from brokers import Broker


class Haproxy(Broker):
    """`send` is what it sends to the port in front of what it was sent, and how it looks whether that is there."""

    def __init__(self, directory: Path, port: int, send: str = ""):
        super().__init__(directory)
        self.configuration = directory / "haproxy.cfg"
        self.configuration.write_text(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen dicom\n bind 127.0.0.1:{self.port}\n server node 127.0.0.1:{port} {send}\n"
        )

    def command(self):
        return [peers.program("haproxy"), "-db", "-f", str(self.configuration)], {}
