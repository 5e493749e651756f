"""Somebody has put something else at a path below `.tidegate`, under a node that runs or has ended: each start works, or ends with one line that names the path, what is in the way and what
to do. Then it does so, and the next start has everything that was acknowledged.
"""

import contextlib
import os
import re
import shutil
import stat

import pytest

from ground import copy, disk
from node import Node, NotStarted
from senders import OWN, Instance, Ledger, lost_instances, store
from test_obstructed import Scene

FILES = ["id", "origins", "journal", "lock", "log-in-use", "admin.token", "catalogue.sqlite", "log/segment-0", "log/segment-1"]
DIRECTORIES = [".", "tmp", "log", "lost"]
# With what it is for, or without.
REMEDY = re.compile(r": (put back|move|remove|give)\b.*\bstart the node again")
LATER = Instance("2.25.3", 1)


def dangling_link(path, _original) -> None:
    path.symlink_to("/nowhere/at/all")


def link_to_the_original(path, original) -> None:
    path.symlink_to(original)


def fifo(path, original) -> None:
    os.mkfifo(path)
    os.chown(path, os.stat(original.parent).st_uid, -1)


def wrong_type(path, original) -> None:
    is_file = path.name in {name.rsplit("/")[-1] for name in FILES}
    path.mkdir() if is_file else path.write_text("not a directory")
    os.chown(path, os.stat(original.parent).st_uid, -1)


def unreadable(path, original) -> None:
    if stat.S_ISDIR(os.stat(original).st_mode):
        path.mkdir(mode=0o700)
    else:
        path.touch(0o600)


OBSTACLES = [dangling_link, link_to_the_original, fifo, wrong_type, unreadable]


def remove(path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Case:
    """A root as a power cut left it, whose log has instances that are nowhere else, and a path of it with something else there."""

    def __init__(self, scene: Scene, mount, name: str, obstacle):
        self.root, self.ledger, self.log = mount / "storage", Ledger(), scene.ground / "case.log"
        self.ledger.attempts = {path: list(attempts) for path, attempts in scene.ledger.attempts.items()}
        self.path = self.root / OWN / name if name != "." else self.root / OWN
        self.original, self.obstacle = mount / "original", obstacle
        self.is_file = name in FILES

    def obstruct(self) -> None:
        if os.path.lexists(self.path):
            self.path.rename(self.original)
        else:
            self.original.touch() if self.is_file else self.original.mkdir()
        self.obstacle(self.path, self.original)

    def obstruct_while_it_runs(self) -> None:
        """Each instance is refused or kept, whatever a kill leaves."""
        with self.started() as node:
            assert store(node.port, self.ledger, Instance("2.25.4", 1)) == [0]
            self.obstruct()
            store(node.port, self.ledger, *(Instance("2.25.4", number) for number in range(2, 5)))
            assert node.is_up()

    @contextlib.contextmanager
    def started(self):
        self.log.unlink(missing_ok=True)
        with Node(self.root, self.log, commit="log", as_nobody=True) as node:
            yield node

    def faults(self) -> list[str]:
        try:
            with self.started() as node:
                return self.faults_of(node)
        except NotStarted:
            told = [line for line in self.log.read_text().splitlines() if line.startswith("tidegate: ")]
            fits = [line for line in told if str(self.path) in line and REMEDY.search(line)]
        faults = [] if len(told) == len(fits) == 1 else [f"the start said {told}"]
        remove(self.path)
        self.original.rename(self.path)
        try:
            with self.started() as node:
                return faults + self.faults_of(node)
        except NotStarted as error:
            return [*faults, f"put back, and not started: {error}"]

    def faults_of(self, node: Node) -> list[str]:
        faults = self.ledger.faults(self.root, lost=lost_instances(self.root), refused_may_be_there=True)
        if store(node.port, Ledger(), LATER) != [0]:
            faults.append("the next instance is refused")
        if node.stop() != 0:
            faults.append("the stop failed")
        return faults


@pytest.fixture
def scene(ground):
    return Scene(ground)


@contextlib.contextmanager
def case(scene, name: str, obstacle):
    copy(scene.images / "after", scene.images / "case")
    with disk(scene.images / "case", scene.ground / "case") as mount:
        yield Case(scene, mount, name, obstacle)


def test_each_start_works_or_says_what_is_in_the_way(scene):
    wrong = []
    for name in FILES + DIRECTORIES:
        for obstacle in OBSTACLES:
            with case(scene, name, obstacle) as root:
                root.obstruct()
                wrong += [f"{name}, {obstacle.__name__}: {fault}" for fault in root.faults()]
    assert not wrong, "\n".join(wrong)


def test_so_does_each_start_after_a_node_that_ran_meanwhile(scene):
    wrong = []
    for name in FILES + DIRECTORIES:
        for obstacle in (dangling_link, link_to_the_original, wrong_type):
            with case(scene, name, obstacle) as root:
                root.obstruct_while_it_runs()
                wrong += [f"{name}, {obstacle.__name__}: {fault}" for fault in root.faults()]
    assert not wrong, "\n".join(wrong)
