"""What every test of disks needs: root, the tools, and a directory that the node can reach as another user."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import ground as grounds

PROGRAMS = ["mkfs.ext4", "e2fsck", "mkfs.xfs", "bindfs", "fusermount3", "losetup", "setpriv"]
INSTALL = "apt-get install e2fsprogs xfsprogs bindfs fuse3 && pip install -r tests/disks/requirements.txt"


@pytest.fixture(scope="session", autouse=True)
def _equipped():
    assert os.geteuid() == 0, "real disks are mounted here: run it as root"
    missing = grounds.missing(PROGRAMS)
    assert not missing, f"not installed: {', '.join(missing)}. {INSTALL}"
    assert Path("/dev/fuse").exists() and Path("/dev/loop-control").exists(), "this kernel has no FUSE or no loop devices"


class Ground(contextlib.ExitStack):
    """A directory, and the contexts that end with the test, the last first."""

    def __init__(self, directory: Path):
        super().__init__()
        self.directory = directory

    def __truediv__(self, name: str) -> Path:
        return self.directory / name


@pytest.fixture
def ground():
    # Not `tmp_path`: pytest keeps it closed to the user that some of the nodes run as.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-disks-"))
    directory.chmod(0o755)
    try:
        with Ground(directory) as stack:
            yield stack
    finally:
        # What could not be unmounted is left alone.
        if not any(os.path.ismount(path) for path in directory.iterdir()):
            shutil.rmtree(directory)
