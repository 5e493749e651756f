"""A FUSE filesystem with one file, `disk`, that is a block device once a loop device stands on it.

`recorder.py MOUNTPOINT IMAGE LOG COUNT`: the content lies in IMAGE. LOG gets every write and every flush, in their order. COUNT
holds the number of records in LOG, as eight bytes for others to map: a request is counted before it is answered.
"""

import errno
import mmap
import os
import stat
import struct
import sys

# The one that bindfs and fusermount3 come with, where an older one is installed beside it.
os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

import mfusepy  # noqa: E402

RECORD = struct.Struct("<BQI")  # kind, offset and length; a write's bytes follow
WRITE, FLUSH = 0, 1


class Recorder(mfusepy.Operations):
    use_ns = True

    def __init__(self, image: str, log: str, count: str):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with open(count, "r+b") as file:
            self.count = mmap.mmap(file.fileno(), 8)
        self.records = 0

    def record(self, kind: int, offset: int, content: bytes) -> None:
        os.writev(self.log, [RECORD.pack(kind, offset, len(content)), content])
        self.records += 1
        self.count[:] = struct.pack("<Q", self.records)

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == "/disk":
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": self.size}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path, fh):
        return [".", "..", "disk"]

    def open(self, path, flags):
        return 0

    def read(self, path, size, offset, fh):
        return os.pread(self.image, size, offset)

    def write(self, path, data, offset, fh):
        os.pwrite(self.image, data, offset)
        self.record(WRITE, offset, bytes(data))
        return len(data)

    def truncate(self, path, length, fh=None):
        return 0

    def flush(self, path, fh):
        return 0

    def fsync(self, path, datasync, fh):
        self.record(FLUSH, 0, b"")
        return 0


if __name__ == "__main__":
    mountpoint, *files = sys.argv[1:]
    # One request at a time: the records are in the order in which the requests came about.
    mfusepy.FUSE(Recorder(*files), mountpoint, foreground=True, nothreads=True, attr_timeout=3600)
