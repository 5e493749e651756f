"""A block device that is recorded, and the states that a power cut may leave it in."""

import contextlib
import mmap
import os
import random
import struct
import sys
from pathlib import Path

from ground import copy, looped, served
from recorder import FLUSH, RECORD

BLOCK_BYTES = 4096
RECORDER = Path(__file__).with_name("recorder.py")


class Device:
    """What `recorded` gives: the loop device, and the number of requests that it has answered."""

    def __init__(self, path: str, count: mmap.mmap):
        self.path, self._count = path, count

    def now(self) -> int:
        return struct.unpack("<Q", self._count[:8])[0]


@contextlib.contextmanager
def recorded(image: Path, log: Path, where: Path):
    """A block device with the content of `image`, whose requests are recorded in `log`."""
    counter = log.with_suffix(".count")
    counter.write_bytes(bytes(8))
    with counter.open("r+b") as file, mmap.mmap(file.fileno(), 8) as count:
        with served([sys.executable, RECORDER, where, image, log, counter], where), looped(where / "disk") as path:
            yield Device(path, count)


class Recording:
    """What happened to a device that began as `image`, up to request number `end`."""

    def __init__(self, image: Path, log: Path, end: int):
        self.image, self.log = image, log
        self.requests: list[tuple[int, int, int, int]] = []  # kind, offset, length, and where in the log the bytes are
        content = log.read_bytes()
        at = 0
        while len(self.requests) < end:
            kind, offset, length = RECORD.unpack_from(content, at)
            at += RECORD.size
            self.requests.append((kind, offset, length, at))
            at += length

    def __len__(self) -> int:
        return len(self.requests)

    def states(self, cuts: list[int], chance: random.Random, directory: Path):
        """For each cut, in rising order: the cut, and an image of a state that the device may be found in.

        A cut is the number of requests that the device had answered. All writes before the last flush are on the medium. Of those
        behind it, each is there, is not, or is torn: then some of its blocks are there.
        """
        base, flushed = copy(self.image, directory / "base"), 0
        with self.log.open("rb") as log, base.open("r+b", buffering=0) as medium:
            for cut in sorted(cuts):
                last = max((n for n in range(flushed, cut) if self.requests[n][0] == FLUSH), default=flushed)
                for number in range(flushed, last):
                    self._apply(log, medium, number)
                flushed = last
                state = copy(base, directory / "state")
                with state.open("r+b", buffering=0) as file:
                    share = chance.choice([0, 0.5, 0.9, chance.random()])
                    for number in range(flushed, cut):
                        if chance.random() < share:
                            self._apply(log, file, number, torn=chance if chance.random() < 0.3 else None)
                yield cut, state
                state.unlink()
        base.unlink()

    def _apply(self, log, medium, number: int, torn: random.Random | None = None) -> None:
        kind, offset, length, at = self.requests[number]
        if kind == FLUSH:
            return
        content = os.pread(log.fileno(), length, at)
        for begin in range(0, length, BLOCK_BYTES) if torn else [0]:
            part = content[begin : begin + BLOCK_BYTES] if torn else content
            if torn is None or torn.random() < 0.5:
                os.pwrite(medium.fileno(), part, offset + begin)
