"""What the suites share of starting a node as a process: the program, its environment, its start-up lines, its end."""

import os
import re
import selectors
import signal
import subprocess
import time
from pathlib import Path

START_LIMIT_S = 180
STOP_LIMIT_S = 180
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
LAST_LINE = "storescu"


def program(variable: str = "TIDEGATE_BIN") -> Path:
    """The program that an environment variable names."""
    binary = os.environ.get(variable)
    assert binary and os.access(binary, os.X_OK), f"{variable} names no program"
    return Path(binary).resolve()


def environment(**settings: str) -> dict[str, str]:
    """That of this process without Tidegate's own variables, except those of a build for tests, and with these settings, as
    `section__key="value"`."""
    theirs = re.compile(r"(?!TIDEGATE)|TIDEGATE_TEST_")
    own = {name: value for name, value in os.environ.items() if theirs.match(name)}
    return own | {f"TIDEGATE__{name.upper()}": value for name, value in settings.items()}


def start_up_lines(process: subprocess.Popen) -> str | None:
    """What a node says up to the last of its start-up lines; none if it ends, or says nothing for too long."""
    said = b""
    deadline = time.monotonic() + START_LIMIT_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=1):
                continue
            part = os.read(process.stdout.fileno(), 4096)
            said += part
            if LAST_LINE in (started := said.decode(errors="replace")):
                return started
            if not part:
                break
    return None


def port(started: str) -> int:
    """Where it listens, by its start-up lines."""
    return int(LISTENING.search(started)[1])


def terminate(process: subprocess.Popen) -> None:
    """SIGTERM; nothing if it has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def wait(process: subprocess.Popen) -> bool:
    """Waits for its end. One that does not end in time is killed: that is false."""
    try:
        process.communicate(timeout=STOP_LIMIT_S)
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
