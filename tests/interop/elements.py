"""Datasets as lists of elements whose tags, VRs, lengths and values can be wrong."""

import struct
from dataclasses import dataclass, replace

from part10 import LONG_VRS
from pydicom.datadict import dictionary_VR

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
SOP_CLASS, SOP_INSTANCE, STUDY, SERIES, PIXELS = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x7FE00010


@dataclass(frozen=True)
class Encoding:
    """One of the three native encodings (PS3.5 annex A)."""

    order: str
    is_explicit: bool


IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE = Encoding("<", False), Encoding("<", True), Encoding(">", True)


@dataclass(frozen=True)
class Element:
    """A data element; `length` is what its header says, if that is not the length of its value."""

    tag: int
    vr: bytes
    value: bytes
    length: int | None = None

    def encode(self, encoding: Encoding) -> bytes:
        length = len(self.value) if self.length is None else self.length
        tag = struct.pack(encoding.order + "HH", self.tag >> 16, self.tag & 0xFFFF)
        if self.tag >> 16 == 0xFFFE or not encoding.is_explicit:
            return tag + struct.pack(encoding.order + "L", length) + self.value
        if self.vr in LONG_VRS:
            return tag + self.vr + struct.pack(encoding.order + "xxL", length) + self.value
        return tag + self.vr + struct.pack(encoding.order + "H", length & 0xFFFF) + self.value


def text(tag: int, vr: bytes, value: bytes) -> Element:
    """An element whose value is padded to an even length."""
    return Element(tag, vr, value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2))


def encode(elements, encoding: Encoding) -> bytes:
    return b"".join(element.encode(encoding) for element in elements)


def _header(content: bytes, at: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """Tag, VR, length and the begin of the value."""
    group, number = struct.unpack_from(encoding.order + "HH", content, at)
    tag = group << 16 | number
    if group == 0xFFFE or not encoding.is_explicit:
        (length,) = struct.unpack_from(encoding.order + "L", content, at + 4)
        return tag, b"", length, at + 8
    vr = content[at + 4 : at + 6]
    if vr in LONG_VRS:
        (length,) = struct.unpack_from(encoding.order + "L", content, at + 8)
        return tag, vr, length, at + 12
    (length,) = struct.unpack_from(encoding.order + "H", content, at + 6)
    return tag, vr, length, at + 8


def _end(content: bytes, at: int, encoding: Encoding) -> int:
    """Where the items that begin at `at` end, their delimiter included."""
    while True:
        tag, vr, length, at = _header(content, at, encoding)
        if tag in (ITEM_END, SEQUENCE_END):
            return at
        # What is in a sequence of VR UN is in implicit VR (PS3.5 6.2.2).
        inner = IMPLICIT_LE if vr == b"UN" else encoding
        at = _end(content, at, inner) if length == UNDEFINED else at + length


def decode(content: bytes, encoding: Encoding) -> list[Element]:
    """The elements of a well-formed dataset. One of undefined length has its items and their delimiter as value."""
    elements, at = [], 0
    while at < len(content):
        tag, vr, length, begin = _header(content, at, encoding)
        if length == UNDEFINED:
            at = _end(content, begin, encoding)
            elements.append(Element(tag, vr, content[begin:at], UNDEFINED))
        else:
            at = begin + length
            elements.append(Element(tag, vr or dictionary_vr(tag), content[begin:at]))
    assert encode(elements, encoding) == content
    return elements


def dictionary_vr(tag: int) -> bytes:
    try:
        return dictionary_VR(tag)[:2].encode()
    except KeyError:
        return b"UN" if tag & 0xFFFF else b"UL"


def changed(elements, tag: int, **fields) -> list[Element]:
    """The elements, with fields of the one of that tag changed."""
    assert any(element.tag == tag for element in elements), f"{tag:08X} is not there to be changed"
    return [replace(element, **fields) if element.tag == tag else element for element in elements]


def without(elements, *tags: int) -> list[Element]:
    return [element for element in elements if element.tag not in tags]


def index(elements, tag: int) -> int:
    return next(at for at, element in enumerate(elements) if element.tag == tag)


def item(value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """An item or a fragment, and what its length says."""
    return struct.pack(order + "HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def delimiter(tag: int, length: int = 0, order: str = "<") -> bytes:
    return struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, length)
