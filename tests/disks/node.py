"""A node as a process over a given storage root: started, stopped, killed, and stopped in its tracks for a power cut."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import launch
from launch import program

NOBODY = 65534
# How long a line may take into the log, beside whatever else the machine does.
LOGGED_S = 30
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

CONFIGURATION = """\
[memory]
budget = "64 MiB"
[associations]
max = 64
[writers]
count = {writers}
[storage]
min_free = "0 B"
commit = "{commit}"
duplicates = "{duplicates}"
[catalogue]
path = "{catalogue}"
[admin]
listen = "{admin}"
[audit]
sink = "{audit}"
[log]
flight_records = "{records}"
[supervision]
hang_timeout = "{hang_timeout}"
"""


class NotStarted(AssertionError):
    """The node ended instead of listening."""


class Node:
    """Use it as a context: at the end it is killed, if it still runs."""

    def __init__(
        self,
        root: Path,
        log: Path,
        commit="adaptive",
        duplicates="replace",
        writers=4,
        as_nobody=False,
        admin="off",
        records="off",
        hang_timeout="30s",
        catalogue="auto",
        audit="off",
    ):
        self.root, self.log_path = root, log
        binary, configuration = program(), log.with_suffix(".toml")
        settings = dict(commit=commit, duplicates=duplicates, writers=writers)
        settings |= dict(admin=admin, records=records, hang_timeout=hang_timeout, catalogue=catalogue, audit=audit)
        configuration.write_text(CONFIGURATION.format(**settings))
        if as_nobody:
            # A directory of root's on the way to the program would be closed to it.
            binary = Path(shutil.copy(binary, log.with_name("tidegate")))
        under = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"] if as_nobody else []
        self._log = log.open("ab")
        self._begin = log.stat().st_size
        self.process = subprocess.Popen(
            [*under, binary, "run", "--listen", "127.0.0.1:0", "--storage", root, "--config", configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=launch.environment(),
        )
        self.started = launch.start_up_lines(self.process)
        if self.started is None:
            self.kill()
            raise NotStarted(f"the node does not start: exit code {self.process.returncode}\n{self.log()}")
        self.port = launch.port(self.started)

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_) -> None:
        self.kill()

    def log(self) -> str:
        """What this process has said, without colours."""
        return COLOUR.sub("", self.log_path.read_bytes()[self._begin :].decode(errors="replace"))

    def lines(self, pattern: str) -> list[str]:
        """The lines of the log that match, in whatever case."""
        return [line for line in self.log().splitlines() if re.search(pattern, line, re.IGNORECASE)]

    def logged(self, pattern: str) -> list[str]:
        """The lines of the log that match, once there is one: the log is written behind the node's work. Empty: there is none in time."""
        deadline = time.monotonic() + LOGGED_S
        while not (found := self.lines(pattern)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def trouble(self) -> list[str]:
        """Warnings, errors, and why it did not start."""
        return self.lines(r" (WARN|ERROR) |^tidegate: cannot")

    def is_up(self) -> bool:
        return self.process.poll() is None

    def pause(self) -> None:
        """Stops every thread where it is, as a power cut does; a copy of the disk can be taken then. Nothing if it has ended."""
        if not self.is_up():
            return
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        while not all(task.joinpath("stat").read_text().rsplit(") ", 1)[1][0] in "TtZX" for task in tasks.iterdir()):
            time.sleep(0.001)

    def kill(self) -> None:
        """SIGKILL; nothing if it has ended."""
        self.process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        launch.terminate(self.process)
        return self._end()

    def _end(self) -> int:
        launch.wait(self.process)
        self._log.close()
        return self.process.returncode


def recover(root: Path) -> str:
    """What `recover --clean` says; it must succeed."""
    done = subprocess.run(
        [program(), "recover", "--clean", root], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"recover --clean ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def differences_of_catalogue(root: Path) -> list[str]:
    """What `catalogue check` says of a running node's catalogue if it differs from the disk; the node compares it behind the catch-up of its start."""
    done = subprocess.run(
        [program(), "catalogue", "check", "--storage", root], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    return [] if done.returncode == 0 else [f"catalogue check ended with {done.returncode}\n{done.stdout}{done.stderr}"]
