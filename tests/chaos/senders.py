"""Senders that go on until they are told to stop, and know of each instance what became of it."""

import random
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import peers
import scu
from ct import CT, EXPLICIT, element, image


def dataset(uid: str, study: str, pixels: int) -> bytes:
    """A CT image whose every byte follows from its UID."""
    return image(uid, study, element(0x0010, 0x0010, b"PN", b"Chaos^Test"), random.Random(uid).randbytes(pixels))


def part10(uid: str, content: bytes) -> bytes:
    """A file of it, for senders that send files."""
    meta = (
        element(0x0002, 0x0002, b"UI", CT.encode())
        + element(0x0002, 0x0003, b"UI", uid.encode())
        + element(0x0002, 0x0010, b"UI", EXPLICIT.encode())
        + element(0x0002, 0x0012, b"UI", b"1.2.826.0.1.3680043.8.498.1")
    )
    length = b"\x02\0\0\0UL\x04\0" + len(meta).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + meta + content


@dataclass
class Sent:
    """What a sender knows by the end."""

    acknowledged: set[str] = field(default_factory=set)
    sent: dict[str, bytes] = field(default_factory=dict)
    refused: int = 0
    cut_off: int = 0


class Sender(threading.Thread):
    """Sends rounds of instances of a study of its own until `stop` is set."""

    def __init__(self, number: int, port: int, directory: Path, stop: threading.Event):
        super().__init__(name=f"{type(self).__name__}-{number}", daemon=True)
        self.number, self.port, self.directory, self.stop = number, port, directory, stop
        self.study = f"2.25.77.{number}"
        self.random = random.Random(number)
        self.told = Sent()
        self.failure: BaseException | None = None
        self.count = 0

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.round()
        except BaseException as failure:  # told by whoever joins
            self.failure = failure

    def instance(self) -> tuple[str, bytes]:
        self.count += 1
        uid = f"{self.study}.{self.count}"
        # Most in memory, some through the spool.
        pixels = self.random.choice([2_000, 20_000, 20_000, 100_000, 600_000]) & ~1
        content = self.told.sent[uid] = dataset(uid, self.study, pixels)
        return uid, content

    def round(self) -> None:
        raise NotImplementedError


class Pynetdicom(Sender):
    """Twenty instances over an association. Each gets a status, or the association ends."""

    def round(self) -> None:
        association = scu.request(self.port, [(CT, [EXPLICIT])])
        if not association.is_established:
            self.told.cut_off += 1
            self.stop.wait(0.05)
            return
        context = scu.context_id(association, CT, EXPLICIT)
        for message in range(1, 21):
            uid, content = self.instance()
            try:
                status = scu.exchange(association, scu.store_request(CT, uid, content, message), context).Status
            except (AssertionError, OSError, AttributeError, ValueError):
                # Not answered: then the association must have been ended, not left open.
                association.join(scu.ANSWER_LIMIT_S)  # more than the node's commit_timeout
                assert not association.is_established, f"{uid} was never answered"
                self.told.cut_off += 1
                return
            if status == 0:
                self.told.acknowledged.add(uid)
            else:
                assert status == 0xA700, f"{uid} was answered {status:04X}"
                self.told.refused += 1
        association.release()


class Storescu(Sender):
    """Ten files by DCMTK's sender. It says of each which status it got."""

    def round(self) -> None:
        files = []
        for _ in range(10):
            uid, content = self.instance()
            path = self.directory / f"{uid}.dcm"
            path.write_bytes(part10(uid, content))
            files.append((uid, path))
        try:
            said = peers.run(
                "storescu", "-v", "-aet", "STORESCU", "-aec", "TIDEGATE", "127.0.0.1", self.port,
                *(path for _, path in files), expect=None,
            )
        except subprocess.TimeoutExpired as hung:
            raise AssertionError(f"{self.name} was never answered: {hung.stderr}") from None
        statuses = [line for line in (said.stdout + said.stderr).splitlines() if "Received Store Response" in line]
        for (uid, path), status in zip(files, statuses):
            if "(Success)" in status:
                self.told.acknowledged.add(uid)
            else:
                self.told.refused += 1
        self.told.cut_off += len(statuses) < len(files)
        for _, path in files:
            path.unlink()
