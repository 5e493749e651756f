"""After a power cut something stands in the way of what the commit log restores, or the log itself is damaged: the node starts
all the same, sets aside what it cannot restore, and says so.
"""

import contextlib
import os
import re

import pytest

from ground import copy, disk, make_ext4, memory
from node import NOBODY, Node
from senders import OWN, Instance, Ledger, lost_instances, store
from test_thin_storage import fill

FREE, OBSTRUCTED = "2.25.1", "2.25.2"
INSTANCES = [Instance(study, number) for study in (FREE, OBSTRUCTED) for number in range(1, 4)]
FRAME_MAGIC = b"TGLF"
ATTEMPTS = 10


class Scene:
    """A root as a power cut left it: its log has instances of two studies, neither of which has reached the disk."""

    def __init__(self, ground):
        self.ground = ground
        self.images = ground.enter_context(memory(ground / "images", "1g"))
        for _ in range(ATTEMPTS):
            self.ledger = Ledger()
            self._cut_the_power()
            with contextlib.ExitStack() as attempt:
                self.mount = attempt.enter_context(disk(self.images / "after", ground / "after"))
                self.root = self.mount / "storage"
                # On a slow machine a checkpoint may have come before the cut.
                if not (self.root / FREE).exists():
                    ground.push(attempt.pop_all())
                    return
        raise AssertionError("the files have always reached the disk: nothing is left to restore")

    def _cut_the_power(self) -> None:
        make_ext4(self.images / "image", "192M")
        with disk(self.images / "image", self.ground / "before", "-o", "commit=600") as mount:
            mount.chmod(0o777)
            # A transaction of the catalogue syncs the journal, and the files with it.
            options = dict(commit="log", as_nobody=True, catalogue="off")
            with Node(mount / "storage", self.ground / "node.log", **options) as node:
                assert set(store(node.port, self.ledger, *INSTANCES)) == {0}
                node.pause()
                copy(self.images / "image", self.images / "after")

    @contextlib.contextmanager
    def started(self):
        with Node(self.root, self.ground / "again.log", commit="log", as_nobody=True) as node:
            assert node.is_up()
            yield node

    def own(self, path) -> None:
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def scene(ground):
    return Scene(ground)


def file_in_the_way(scene: Scene) -> None:
    (scene.root / OBSTRUCTED).write_text("not a directory")


def linked_to_another_filesystem(scene: Scene) -> None:
    other = scene.ground.enter_context(memory(scene.ground / "other", "64m"))
    study = other / OBSTRUCTED
    (study / f"{OBSTRUCTED}.1").mkdir(parents=True)
    for path in (other, study, study / f"{OBSTRUCTED}.1"):
        scene.own(path)
    (scene.root / OBSTRUCTED).symlink_to(study)


def owned_by_another_user(scene: Scene) -> None:
    (scene.root / OBSTRUCTED).mkdir(mode=0o700)


def directory_where_the_file_belongs(scene: Scene) -> None:
    for instance in INSTANCES:
        if instance.study == OBSTRUCTED:
            path = scene.root / instance.path
            path.mkdir(parents=True)
            (path / "content").write_text("something of somebody's")
    for path in (scene.root / OBSTRUCTED).rglob("*"):
        scene.own(path)
    scene.own(scene.root / OBSTRUCTED)


OBSTRUCTIONS = [file_in_the_way, linked_to_another_filesystem, owned_by_another_user, directory_where_the_file_belongs]


@pytest.mark.parametrize("obstruct", OBSTRUCTIONS)
def test_what_cannot_be_restored_is_set_aside(scene, obstruct):
    obstruct(scene)
    with scene.started() as node:
        lost = lost_instances(scene.root)
        faults = scene.ledger.faults(scene.root, lost=lost)
        assert not faults, "\n".join([*faults, *node.trouble()])
        assert len(lost) == 3
        told = node.logged(f"(WARN|ERROR).*{re.escape(OBSTRUCTED)}")
        assert any(f"{OWN}/lost" in line for line in told), node.log()
        assert store(node.port, Ledger(), Instance(FREE, 9)) == [0]
        assert node.stop() == 0
    # It is not told again at every start, and what was set aside stays where it is.
    with scene.started() as node:
        assert not node.lines(f"(WARN|ERROR).*{re.escape(OBSTRUCTED)}"), node.log()
        assert lost_instances(scene.root) == lost


def test_without_room_the_node_starts_and_keeps_what_it_cannot_write(scene):
    fill(scene.mount / "ballast")
    with scene.started() as node:
        assert node.trouble(), "it has not said that there is no room"
        assert node.stop() == 0
    (scene.mount / "ballast").unlink()
    with scene.started() as node:
        faults = scene.ledger.faults(scene.root, lost=lost_instances(scene.root))
        assert not faults, "\n".join(faults)


@pytest.mark.parametrize("offset_bytes", [0, 9, 60, 1_000], ids=["magic", "generation", "names", "content"])
def test_a_damaged_frame_is_told_of_and_those_behind_it_are_restored(scene, offset_bytes):
    segments = [path for path in (scene.root / OWN / "log").iterdir() if FRAME_MAGIC in path.read_bytes()]
    assert segments
    content = bytearray(segments[0].read_bytes())
    at = [found.start() for found in re.finditer(FRAME_MAGIC, content)]
    assert len(at) == len(INSTANCES), "each instance was committed by a frame of its own"
    content[at[1] + offset_bytes] ^= 0x40
    segments[0].write_bytes(content)
    with scene.started() as node:
        faults = scene.ledger.faults(scene.root)
        assert len(faults) == 1 and INSTANCES[1].path in faults[0], "\n".join([*faults, *node.trouble()])
        assert node.logged(r"(WARN|ERROR).*(damaged|not whole|checksum)"), node.log()


def test_a_damaged_segment_is_told_of(scene):
    for segment in (scene.root / OWN / "log").iterdir():
        content = bytearray(segment.read_bytes())
        if FRAME_MAGIC in content:
            content[10] ^= 0x40  # in its header, which has a checksum of its own
            segment.write_bytes(content)
    with scene.started() as node:
        faults = scene.ledger.faults(scene.root)
        assert not faults or node.logged(r"(WARN|ERROR).*(damaged|not whole|checksum)"), "\n".join([*faults, *node.trouble()])
