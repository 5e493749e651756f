"""The other programs: found or failed, never skipped; and Orthanc, which runs as a server."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

# A peer that has not finished by then hangs.
PEER_TIMEOUT_S = 180


def program(name: str, *, variable: str | None = None) -> str:
    """The path of a peer's program, which an environment variable may name."""
    path = os.environ.get(variable) if variable else None
    path = path or shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert path and os.access(path, os.X_OK), f"the peer {name} is not installed"
    return path


def run(name: str, *arguments, variable: str | None = None, expect: int | None = 0) -> subprocess.CompletedProcess:
    """Runs a peer to its end and holds it to its exit code."""
    command = [program(name, variable=variable), *map(str, arguments)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PEER_TIMEOUT_S,
        # DCMTK's own: without it every small instance waits 40 ms for a delayed acknowledgement.
        env=os.environ | {"TCP_NODELAY": "1"},
    )
    if expect is not None:
        assert done.returncode == expect, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def free_port() -> int:
    """A port nobody listens on now, for programs that cannot pick one themselves. It is below those that the system gives to connections
    (ip_local_port_range): one of another program would take it before the program listens."""
    for port in random.sample(range(10_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("each of a hundred ports is in use")


def wait_for_port(process: subprocess.Popen, port: int, limit_s: float = 60) -> None:
    """Waits until `process` listens on `port`."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended with {process.returncode} instead of listening"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{process.args} does not listen on port {port}")


class Refused(AssertionError):
    """An HTTP answer of Orthanc's that is an error."""


class Orthanc:
    """An Orthanc server of its own, with an empty index, that knows `modalities` by name."""

    def __init__(self, directory: Path, modalities: dict[str, tuple[str, int]], **configuration):
        self.directory = directory / "orthanc"
        self.directory.mkdir()
        self.http_port = free_port()
        content = {
            "Name": "interop",
            "StorageDirectory": str(self.directory / "storage"),
            "IndexDirectory": str(self.directory / "storage"),
            "Plugins": [],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "DicomAet": "ORTHANC",
            "DicomModalities": {name: [aet, "127.0.0.1", port] for name, (aet, port) in modalities.items()},
            **configuration,
        }
        path = self.directory / "orthanc.json"
        path.write_text(json.dumps(content))
        self.log = (self.directory / "log").open("w")
        self.process = subprocess.Popen(
            [program("Orthanc"), "--verbose", path],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=os.environ | {"TCP_NODELAY": "1"},
        )
        wait_for_port(self.process, self.http_port)

    def request(self, path: str, body: bytes) -> dict:
        """POSTs `body` and returns the JSON answer."""
        return self._ask(path, data=body, method="POST")

    def get(self, path: str) -> dict:
        """GETs a JSON answer."""
        return self._ask(path)

    def _ask(self, path: str, **options) -> dict:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", **options)
        try:
            with urllib.request.urlopen(request, timeout=PEER_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error

    def upload(self, path: Path) -> str | None:
        """Imports a file and returns Orthanc's identifier of the instance; None when Orthanc will not have it."""
        try:
            return self.request("/instances", path.read_bytes())["ID"]
        except Refused:
            return None

    def store(self, modality: str, instances: list[str], **options) -> dict:
        """Sends instances to a modality, over one association, and returns what Orthanc says of it."""
        body = {"Resources": instances, "Synchronous": True, **options}
        return self.request(f"/modalities/{modality}/store", json.dumps(body).encode())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=PEER_TIMEOUT_S)
        self.log.close()
