"""A Tidegate node as a process on a port of its own, over a storage root of its own."""

import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path

from part10 import Part10

START_LIMIT_S = 60
STOP_LIMIT_S = 60
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
LISTENING_FOR_TLS = re.compile(r"^tls: 127\.0\.0\.1:(\d+),", re.MULTILINE)
ADMIN = re.compile(r"^admin: (https?://\S+)/", re.MULTILINE)
LAST_LINE = "storescu"


class Node:
    """Starts with the defaults, but for what a configuration file and `settings`, as `section__key="value"`, say."""

    ae_title = "TIDEGATE"
    binary_variable = "TIDEGATE_BIN"
    panics = False
    under: tuple[str, ...] = ()

    def __init__(self, directory: Path, configuration: Path | None = None, **settings: str):
        binary = os.environ.get(self.binary_variable)
        assert binary and os.access(binary, os.X_OK), f"{self.binary_variable} names no program"
        self.root = directory / "storage"
        self.log_path = directory / "node.log"
        self.log = self.log_path.open("ab")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")}
        environment["TIDEGATE__ADMIN__LISTEN"] = "off"  # the default port is one, and nodes run side by side
        environment |= {f"TIDEGATE__{name.upper()}": value for name, value in settings.items()}
        file = ["--config", str(configuration)] if configuration else []
        self.process = subprocess.Popen(
            [*self.under, str(Path(binary).resolve()), "run", "--listen", "127.0.0.1:0", "--storage", str(self.root), *file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=directory,
            env=environment,
        )
        started = self._wait_for_start()
        self.port = int(LISTENING.search(started)[1])
        admin = ADMIN.search(started)
        self.url = admin[1] if admin else None
        tls = LISTENING_FOR_TLS.search(started)
        self.tls_port = int(tls[1]) if tls else None

    def _wait_for_start(self) -> str:
        said = b""
        deadline = time.monotonic() + START_LIMIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(timeout=1):
                    continue
                part = os.read(self.process.stdout.fileno(), 4096)
                said += part
                if LAST_LINE in (started := said.decode(errors="replace")):
                    return started
                if not part:
                    break
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"the node does not say where it listens: {said!r}\n{self.log_path.read_text()}")

    def files(self) -> list[Path]:
        """Everything under the storage root but what the node keeps for itself."""
        own = self.root / ".tidegate"
        return sorted(path for path in self.root.rglob("*") if path.is_file() and own not in path.parents)

    def stored(self) -> list[Part10]:
        """Each stored instance."""
        return [Part10(path) for path in self.files()]

    def received(self) -> set[tuple[str, str, bytes]]:
        """SOP Instance UID, transfer syntax and dataset of each stored instance."""
        return {(file.sop_instance, file.transfer_syntax, file.dataset) for file in self.stored()}

    def stop(self) -> None:
        """Ends the node as a service manager does, and holds it to an orderly end; once."""
        if self.log.closed:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"the node does not stop\n{self.log_path.read_text()}") from None
        finally:
            self.log.close()
        log = self.log_path.read_text(errors="replace")
        assert self.process.returncode == 0, f"the node ended with {self.process.returncode}\n{log}"
        assert self.panics or "child ended" not in log, log
        end = [line for line in log.splitlines() if "actors_left" in line]
        assert end and "actors_left=0 leased_bytes_left=0" in end[-1], f"something is left at the end: {end}"
        left = list((self.root / ".tidegate" / "tmp").iterdir())
        assert not left, f"temporary files left: {left}"
