"""The node stores on a recorded block device, and the power is cut at many of its requests.

`TIDEGATE_DISK_STATES` is the number of states for each filesystem and commit mode, `TIDEGATE_DISK_SECONDS` the time of the load,
`TIDEGATE_DISK_SEED` the seed of what a cut leaves.
"""

import itertools
import os
import random
import time
from pathlib import Path

import pytest

from device import Recording, recorded
from ground import copy, disk, make_ext4, make_xfs, memory, mounted
from node import Node, differences_of_catalogue, recover
from senders import Instance, Ledger, Load, Sender, lost_instances

STATES = int(os.environ.get("TIDEGATE_DISK_STATES", "8"))
SECONDS = float(os.environ.get("TIDEGATE_DISK_SECONDS", "3"))
SEED = os.environ.get("TIDEGATE_DISK_SEED", "1")
# Sparse: only what is written counts.
MAKE = {"ext4": lambda image: make_ext4(image, "1G", "-N", "16384"), "xfs": lambda image: make_xfs(image, "512M")}
OPTIONS = {"ext4": "nodiscard", "xfs": "nodiscard,nouuid"}
MODES = ["adaptive", "log", "per-file"]
# Faults that are told of one state.
TOLD = 5


class Course:
    """The disks of one test, and the faults that were found in the states of a recording."""

    def __init__(self, ground, filesystem: str):
        self.ground, self.filesystem = ground, filesystem
        self.options = ("-o", OPTIONS[filesystem])
        self.images = ground.enter_context(memory(ground / "images", "4g"))
        self.faults: list[str] = []
        self.states = self.checked = self.restored = self.compared = 0

    def record(self, image: Path, name: str, act) -> Recording:
        """Calls `act` with a root and the device below it, which begins as `image`, and records what reaches the device."""
        log = self.images / f"{name}.log"
        medium = copy(image, self.images / f"{name}.medium")
        with recorded(medium, log, self.ground / f"{name}-device") as device:
            with mounted(device.path, self.ground / f"{name}-mount", *self.options) as mount:
                act(mount / "storage", device)
                # What the unmounting writes is not of interest.
                end = device.now()
        medium.unlink()
        return Recording(image, log, end)

    def load(
        self, commit: str, unwritable: str | None = None, make=None, until_refused=False
    ) -> tuple[Recording, Ledger]:
        """A recording of load, and the ledger of its senders. The node may not write the study `unwritable`. With `until_refused`,
        the load lasts until an instance was refused, however slow the machine is."""
        ledger, make = Ledger(), make or MAKE[self.filesystem]

        def act(root: Path, device) -> None:
            ledger.clock = device.now
            root.parent.chmod(0o777)
            node = Node(root, self.ground / "node.log", commit=commit, as_nobody=bool(unwritable))
            with node, Load(node.port, ledger):
                end, sender = time.monotonic() + SECONDS, Sender(node.port, ledger)
                if unwritable:
                    (root / unwritable).mkdir(mode=0o755)  # it can be looked into: the first to fail is what gives the name
                for number in itertools.count():
                    late_s = time.monotonic() - end
                    if late_s >= 0 and (not until_refused or ledger.known(acknowledged=False) or late_s > 120):
                        break
                    if unwritable:
                        sender.store(Instance(unwritable, number))
                    time.sleep(0.1)
                sender.close()

        image = self.images / "made"
        make(image)
        recording = self.record(image, "load", act)
        assert ledger.count(acknowledged=True) > 20, f"there was no load\n{(self.ground / 'node.log').read_text()}"
        return recording, ledger

    def check(self, image: Path, ledger: Ledger, cut: int, what: str, start_with: str) -> None:
        """Mounts the image, which recovers the filesystem, recovers the root, and looks at it."""
        faults = []
        with disk(image, self.ground / "state", *self.options) as mount:
            root = mount / "storage"
            try:
                if start_with == "run":
                    with Node(root, self.ground / "state.log") as node:
                        said = node.started
                    # That was a kill, perhaps during the catch-up of the catalogue.
                    with Node(root, self.ground / "state.log"):
                        faults += differences_of_catalogue(root)
                    self.compared += 1
                else:
                    said = recover(root)
                self.restored += "restored 0" not in said
            except AssertionError as failure:
                faults.append(str(failure))
            faults += ledger.faults(root, cut)
        self.conclude_state(faults, ledger, cut, what)

    def conclude_state(self, faults: list[str], ledger: Ledger, cut: int, what: str) -> None:
        self.states += 1
        self.checked += ledger.count(acknowledged=True, by=cut)
        told = faults[:TOLD] + ([f"… {len(faults)} faults"] if len(faults) > TOLD else [])
        self.faults += [f"{what} at {cut}: {fault}" for fault in told]

    def conclude(self) -> None:
        print(
            f"{self.states} states, {self.checked} acknowledged instances looked at, {self.restored} with something to restore,"
            f" {self.compared} with the catalogue"
        )
        if self.faults:
            pytest.fail(f"faults in {self.states} states:\n" + "\n".join(self.faults[:40]), pytrace=False)
        assert self.checked > 0


def cuts_of(recording: Recording, ledger: Ledger, count: int, chance: random.Random) -> list[int]:
    """Half of them anywhere, the others at the moment of an acknowledgement."""
    known = ledger.known(acknowledged=True)
    return [chance.choice(known) if n % 2 else chance.randrange(min(known), len(recording)) for n in range(count)]


@pytest.mark.parametrize("commit", MODES)
@pytest.mark.parametrize("filesystem", OPTIONS)
def test_what_was_acknowledged_is_whole_in_every_state(ground, filesystem, commit):
    course, chance = Course(ground, filesystem), random.Random(f"{SEED} {filesystem} {commit}")
    recording, ledger = course.load(commit)
    cuts = cuts_of(recording, ledger, STATES, chance)
    for number, (cut, state) in enumerate(recording.states(cuts, chance, course.images)):
        course.check(state, ledger, cut, "cut", "run" if number % 2 else "recover")
    course.conclude()


@pytest.mark.parametrize("filesystem", OPTIONS)
def test_a_recovery_that_is_cut_off_too_is_made_up_for(ground, filesystem):
    course, chance = Course(ground, filesystem), random.Random(f"{SEED} {filesystem} replay")
    recording, ledger = course.load("log")
    outer = max(1, STATES // 5)
    for cut, state in recording.states(cuts_of(recording, ledger, outer, chance), chance, course.images):
        inner_images = course.images / "inner"
        inner_images.mkdir(exist_ok=True)
        begin = copy(state, inner_images / "begin")
        replay = course.record(begin, f"replay-{cut}", lambda root, device: recover(root))
        cuts = [chance.randrange(1, len(replay)) for _ in range(5)]
        for inner, again in replay.states(cuts, chance, inner_images):
            course.check(again, ledger, cut, f"replay cut at {inner} after the cut", "recover")
        replay.log.unlink()
    course.conclude()


@pytest.mark.parametrize("filesystem", OPTIONS)
def test_what_was_refused_is_in_no_state(ground, filesystem):
    course, chance = Course(ground, filesystem), random.Random(f"{SEED} {filesystem} refused")
    unwritable = "2.25.99"
    recording, ledger = course.load("log", unwritable)
    refusals = ledger.known(acknowledged=False, study=unwritable)
    assert refusals, "nothing was refused"
    # What recovers may write the study: the log must not have it any more.
    cuts = [chance.choice(refusals) for _ in range(STATES)]
    for cut, state in recording.states(cuts, chance, course.images):
        course.check(state, ledger, cut, "cut", "recover")
    course.conclude()


def test_a_disk_that_was_full_when_the_power_went_is_recovered_when_there_is_room(ground):
    course, chance = Course(ground, "ext4"), random.Random(f"{SEED} full")

    def make_small(image: Path) -> None:
        make_ext4(image, "96M", "-N", "4096")
        with disk(image, ground / "prepared") as mount:
            (mount / "ballast").write_bytes(bytes(24 << 20))

    recording, ledger = course.load("log", make=make_small, until_refused=True)
    refusals = ledger.known(acknowledged=False)
    assert refusals, "the disk did not run full"
    cuts = [chance.randrange(min(refusals) // 2, len(recording)) for _ in range(STATES)]
    for cut, state in recording.states(cuts, chance, course.images):
        faults = []
        with disk(state, ground / "state", *course.options) as mount:
            try:
                with Node(mount / "storage", ground / "state.log", commit="log") as node:
                    assert node.stop() == 0, node.log()
                (mount / "ballast").unlink()
                recover(mount / "storage")
            except AssertionError as failure:
                faults.append(str(failure))
            faults += ledger.faults(mount / "storage", cut, lost_instances(mount / "storage"))
        course.conclude_state(faults, ledger, cut, "full, cut")
    course.conclude()
