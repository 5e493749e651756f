"""Senders on pynetdicom, and the ledger of what they were told."""

import hashlib
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import scu
from ct import CT, EXPLICIT, element, image

OWN = ".tidegate"
FOREVER = 1 << 62


@dataclass(frozen=True)
class Instance:
    """Its bytes follow from these."""

    study: str
    number: int
    version: int = 0
    pixels: int = 2_000

    @property
    def uid(self) -> str:
        return f"{self.study}.1.{self.number}"

    @property
    def path(self) -> str:
        """Where it is stored, below the root."""
        return f"{self.study}/{self.study}.1/{self.uid}.dcm"

    def dataset(self) -> bytes:
        """A CT image."""
        version = element(0x0010, 0x0020, b"LO", f"VERSION {self.version:06}".encode())
        return image(self.uid, self.study, version, random.Random(f"{self.uid} {self.version}").randbytes(self.pixels))


def digest(dataset: bytes) -> bytes:
    return hashlib.blake2b(dataset, digest_size=16).digest()


def stored_dataset(path: Path) -> bytes | None:
    """The dataset of a Part 10 file; none if it does not begin as one."""
    content = path.read_bytes()
    if content[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        return None
    return content[144 + int.from_bytes(content[140:144], "little") :]


@dataclass
class Attempt:
    """A C-STORE: when it began, and when its status was known, by the clock of the ledger."""

    digest: bytes
    began: int
    status: int | None = None
    known: int = FOREVER


class Ledger:
    """Each attempt, by the path of its instance, in the order in which they were made."""

    def __init__(self, clock=lambda: 0):
        self.clock = clock
        self.attempts: dict[str, list[Attempt]] = {}
        self.lock = threading.Lock()

    def begin(self, instance: Instance, dataset: bytes) -> Attempt:
        attempt = Attempt(digest(dataset), self.clock())
        with self.lock:
            self.attempts.setdefault(instance.path, []).append(attempt)
        return attempt

    def end(self, attempt: Attempt, status: int) -> None:
        attempt.status, attempt.known = status, self.clock()

    def known(self, *, acknowledged: bool, study: str = "") -> list[int]:
        """When the status of each attempt was known, of those that were acknowledged or of the others."""
        with self.lock:
            every = [a for path, attempts in self.attempts.items() if path.startswith(study) for a in attempts]
        return [a.known for a in every if a.status is not None and (a.status == 0) == acknowledged]

    def count(self, *, acknowledged: bool, by: int = FOREVER) -> int:
        return sum(known <= by for known in self.known(acknowledged=acknowledged))

    def faults(self, root: Path, at=FOREVER, lost: dict[bytes, Path] | None = None, refused_may_be_there=False) -> list[str]:
        """What is wrong with a root that was cut off at a time. An instance that is in `lost` need not be in its place."""
        found = {}
        for path in sorted(root.rglob("*.dcm")):
            if path.is_file() and OWN not in path.relative_to(root).parts:
                dataset = stored_dataset(path)
                found[str(path.relative_to(root))] = None if dataset is None else digest(dataset)
        faults = [f"{path}: nobody has sent it" for path in found if path not in self.attempts]
        for path, attempts in self.attempts.items():
            begun = [attempt for attempt in attempts if attempt.began <= at]
            told = [number for number, a in enumerate(begun) if a.status == 0 and a.known <= at]
            earlier = {a.digest for a in begun[: told[-1]]} if told else set()
            # Behind the last that was acknowledged, one whose status was not known yet may have come through.
            rest = begun[told[-1] :] if told else begun
            allowed = {a.digest for a in rest if refused_may_be_there or a.status in (0, None) or a.known > at}
            if path not in found:
                if told and not (lost and begun[told[-1]].digest in lost):
                    faults.append(f"{path}: acknowledged, and not there")
            elif found[path] not in allowed:
                other = "a refused version" if found[path] in {a.digest for a in rest} else "not whole"
                kind = "an earlier version" if found[path] in earlier else other
                faults.append(f"{path}: {kind}; {'' if told else 'not '}acknowledged")
        return faults


def lost_instances(root: Path) -> dict[bytes, Path]:
    """What the node has set aside: DICOM files, by the digest of their dataset."""
    files = [path for path in (root / OWN / "lost").rglob("*") if path.is_file()]
    datasets = {path: stored_dataset(path) for path in files}
    return {digest(dataset): path for path, dataset in datasets.items() if dataset is not None}


class Sender:
    """An association for one study, opened anew when it ends."""

    def __init__(self, port: int, ledger: Ledger):
        self.port, self.ledger = port, ledger
        self.association = None
        self.message = 0

    def store(self, instance: Instance) -> int | None:
        """The status, or none if there was no answer."""
        dataset = instance.dataset()
        try:
            if self.association is None or not self.association.is_established:
                self.association = scu.request(self.port, [(CT, [EXPLICIT])])
                assert self.association.is_established, "no association"
            context = scu.context_id(self.association, CT, EXPLICIT)
            self.message = self.message % 60_000 + 1
            attempt = self.ledger.begin(instance, dataset)
            request = scu.store_request(CT, instance.uid, dataset, self.message)
            status = scu.exchange(self.association, request, context).Status
        except (AssertionError, OSError, AttributeError, ValueError):
            if self.association is not None:
                self.association.abort()
                self.association = None
            return None
        self.ledger.end(attempt, status)
        return status

    def close(self) -> None:
        if self.association is not None and self.association.is_established:
            self.association.release()
        self.association = None


def store(port: int, ledger: Ledger, *instances: Instance) -> list[int | None]:
    """Stores them over one association; their statuses."""
    sender = Sender(port, ledger)
    try:
        return [sender.store(instance) for instance in instances]
    finally:
        sender.close()


class Load:
    """Threads that store until the end of the context, each a study of its own: small and larger ones, and replacements."""

    def __init__(self, port: int, ledger: Ledger, threads: int = 4, first_study: int = 1, pause_s: float = 0):
        self.stop = threading.Event()
        self.pause_s = pause_s
        self.threads = [
            threading.Thread(target=self._run, args=(Sender(port, ledger), f"2.25.{first_study + number}"), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender was never answered"

    def _run(self, sender: Sender, study: str) -> None:
        chance, version = random.Random(study), 0
        for number in range(1, 1_000_000):
            if self.stop.is_set():
                break
            version += 1
            # Every fourth replaces one of the first three.
            number = chance.randint(1, 3) if number % 4 == 0 else number
            pixels = chance.choice([2_000, 2_000, 10_000, chance.randrange(100_000, 200_000, 2)])
            if sender.store(Instance(study, number, version, pixels)) is None:
                time.sleep(0.05)
            self.stop.wait(self.pause_s)
        sender.close()
