"""The least of PS3.10 that the suite needs to look at stored bytes without trusting a toolkit's reading of them."""

import struct
from pathlib import Path

# VRs with a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1).
LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


class Part10:
    """A DICOM file: its file meta as raw values by element number, and the dataset's bytes."""

    def __init__(self, path: Path):
        self.path = path
        content = path.read_bytes()
        assert content[128:132] == b"DICM", f"{path} has no DICM prefix"
        self.preamble = content[:128]
        assert content[132:140] == b"\x02\x00\x00\x00UL\x04\x00", f"{path} does not begin with a group length"
        (self.group_length,) = struct.unpack_from("<L", content, 140)
        end = 144 + self.group_length
        assert end <= len(content), f"{path}: the file meta is longer than the file"
        self.meta: dict[int, bytes] = {}
        at = 144
        while at < end:
            group, element, vr = struct.unpack_from("<HH2s", content, at)
            assert group == 2, f"{path}: group {group:04X} within the group length of the file meta"
            if vr in LONG_VRS:
                (length,) = struct.unpack_from("<L", content, at + 8)
                at += 12
            else:
                (length,) = struct.unpack_from("<H", content, at + 6)
                at += 8
            self.meta[element] = content[at : at + length]
            at += length
        assert at == end, f"{path}: the group length of the file meta ends inside an element"
        assert content[end : end + 2] != b"\x02\x00", f"{path}: file meta beyond its group length"
        self.dataset = content[end:]

    def text(self, element: int) -> str | None:
        """An element of group 0002 as text without its padding."""
        value = self.meta.get(element)
        return None if value is None else value.decode("ascii").rstrip("\0 ")

    @property
    def sop_class(self) -> str:
        return self.text(0x0002)

    @property
    def sop_instance(self) -> str:
        return self.text(0x0003)

    @property
    def transfer_syntax(self) -> str:
        return self.text(0x0010)
