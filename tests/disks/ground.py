"""Filesystems for a test: each is a context that unmounts or detaches what it made, whatever happens inside."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

PATIENCE_S = 10
SYSTEM_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def run(*command, expect: int | None = 0, **options) -> str:
    """What a command said on both streams; it is held to its exit code."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
        env=os.environ | {"PATH": SYSTEM_PATH},
        **options,
    )
    assert expect is None or done.returncode == expect, f"{command} ended with {done.returncode}\n{done.stdout}"
    return done.stdout


def make_ext4(image: Path, size: str, *options) -> None:
    """An ext4 in blocks of 4 KiB with a small journal, everything laid out at once: nothing is left to the background."""
    run("truncate", "-s", size, image)
    layout = "lazy_itable_init=0,lazy_journal_init=0"
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=8", "-E", layout, *options, image)


def make_xfs(image: Path, size: str) -> None:
    run("truncate", "-s", size, image)
    run("mkfs.xfs", "-q", "-f", image)


def copy(image: Path, to: Path) -> Path:
    """A copy of an image, as sparse as the image."""
    run("cp", "--sparse=always", image, to)
    return to


@contextlib.contextmanager
def looped(file: Path):
    """A loop device on a file."""
    device = run("losetup", "-f", "--show", file).strip()
    try:
        yield device
    finally:
        run("losetup", "-d", device, expect=None)


@contextlib.contextmanager
def mounted(source, where: Path, *options):
    """`source` mounted at the directory `where`, which is made."""
    where.mkdir(parents=True, exist_ok=True)
    run("mount", *options, source, where)
    try:
        yield where
    finally:
        unmount(where)


def unmount(where: Path) -> None:
    """Unmounts, by force as the last resort; nothing if it is unmounted already."""
    deadline = time.monotonic() + PATIENCE_S
    while os.path.ismount(where):
        run("umount", *(["-l"] if time.monotonic() > deadline else []), where, expect=None)
        if os.path.ismount(where):
            time.sleep(0.1)


@contextlib.contextmanager
def disk(image: Path, where: Path, *options):
    """An image mounted through a loop device."""
    with looped(image) as device, mounted(device, where, *options):
        yield where


@contextlib.contextmanager
def memory(where: Path, size: str):
    """A tmpfs. Images lie in one, so that copies of them are fast and flushes cost nothing."""
    with mounted("tmpfs", where, "-t", "tmpfs", "-o", f"size={size},mode=0755"):
        yield where


@contextlib.contextmanager
def served(command: list, where: Path):
    """The mount of a FUSE program that stays in the foreground."""
    where.mkdir(parents=True, exist_ok=True)
    said = where.with_name(f"{where.name}.log")
    with said.open("wb") as log:
        program = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not os.path.ismount(where):
            assert program.poll() is None and time.monotonic() < deadline, f"{command}: {said.read_text()}"
            time.sleep(0.01)
        yield program
    finally:
        unmount(where)
        try:
            program.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def missing(programs) -> list[str]:
    """Those of the programs that are not installed."""
    return [name for name in programs if not shutil.which(name, path=SYSTEM_PATH)]
