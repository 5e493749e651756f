"""A Tidegate node as a process on a port of its own, over a storage root of its own."""

import re
import subprocess
from pathlib import Path

import launch
from part10 import Part10

LISTENING_FOR_TLS = re.compile(r"^tls: 127\.0\.0\.1:(\d+),", re.MULTILINE)
ADMIN = re.compile(r"^admin: (https?://\S+)/", re.MULTILINE)


class Node:
    """Starts with the defaults, but for what a configuration file and `settings`, as `section__key="value"`, say."""

    ae_title = "TIDEGATE"
    binary_variable = "TIDEGATE_BIN"
    panics = False
    under: tuple[str, ...] = ()

    def __init__(self, directory: Path, configuration: Path | None = None, **settings: str):
        binary = launch.program(self.binary_variable)
        self.root = directory / "storage"
        self.log_path = directory / "node.log"
        self.log = self.log_path.open("ab")
        # The default port of the admin surface is one, and nodes run side by side.
        settings = {"admin__listen": "off"} | settings
        file = ["--config", str(configuration)] if configuration else []
        self.process = subprocess.Popen(
            [*self.under, str(binary), "run", "--listen", "127.0.0.1:0", "--storage", str(self.root), *file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=directory,
            env=launch.environment(**settings),
        )
        started = launch.start_up_lines(self.process)
        if started is None:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node does not say where it listens\n{self.log_path.read_text()}")
        self.port = launch.port(started)
        admin = ADMIN.search(started)
        self.url = admin[1] if admin else None
        tls = LISTENING_FOR_TLS.search(started)
        self.tls_port = int(tls[1]) if tls else None

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
        launch.terminate(self.process)
        has_ended = launch.wait(self.process)
        self.log.close()
        assert has_ended, f"the node does not stop\n{self.log_path.read_text()}"
        log = self.log_path.read_text(errors="replace")
        assert self.process.returncode == 0, f"the node ended with {self.process.returncode}\n{log}"
        assert self.panics or "child ended" not in log, log
        end = [line for line in log.splitlines() if "actors_left" in line]
        assert end and "actors_left=0 leased_bytes_left=0" in end[-1], f"something is left at the end: {end}"
        left = list((self.root / ".tidegate" / "tmp").iterdir())
        assert not left, f"temporary files left: {left}"
