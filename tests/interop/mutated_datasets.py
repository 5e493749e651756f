"""Datasets damaged at random: the elements of public test files, each dataset with one mutation that a seed chooses."""

import itertools
import random
import struct
import zlib
from dataclasses import dataclass

import malformed_datasets
from elements import EXPLICIT_LE, ITEM, ITEM_END, SEQUENCE_END, SOP_CLASS, SOP_INSTANCE, UNDEFINED, Element, Encoding, changed, delimiter, dictionary_vr, encode, item, text
from malformed_datasets import Base, Case
from part10 import LONG_VRS

BASES = ("ct", "mr", "implicit", "plan", "report", "big endian", "jpeg", "rle", "deflated", "capture")


@dataclass(frozen=True)
class Header:
    """Where an element, an item or a delimiter stands in a dataset, and the index of the element of the dataset itself that it is in."""

    top: int
    tag: int
    vr: bytes
    at: int
    value_at: int
    length: int
    depth: int

    @property
    def length_at(self) -> tuple[int, str]:
        """The place and form of its length."""
        return (self.value_at - 2, "H") if self.vr and self.vr not in LONG_VRS else (self.value_at - 4, "L")


class Whole:
    """A dataset as bytes, with its headers."""

    def __init__(self, elements: list[Element], encoding: Encoding, rng: random.Random):
        self.elements, self.encoding, self.rng = elements, encoding, rng
        self.content = encode(elements, encoding)
        self.headers: list[Header] = []
        at = 0
        while at < len(self.content):
            at = self._element(at, len([h for h in self.headers if h.depth == 0]), 0)
        self.tops = [header for header in self.headers if header.depth == 0]

    def _header(self, at: int, top: int, depth: int) -> Header:
        order = self.encoding.order
        group, number = struct.unpack_from(order + "HH", self.content, at)
        tag, vr = group << 16 | number, b""
        if group == 0xFFFE or not self.encoding.is_explicit:
            value_at, form = at + 8, "L"
        else:
            vr = self.content[at + 4 : at + 6]
            value_at, form = (at + 12, "L") if vr in LONG_VRS else (at + 8, "H")
        (length,) = struct.unpack_from(order + form, self.content, value_at - (4 if form == "L" else 2))
        header = Header(top, tag, vr, at, value_at, length, depth)
        self.headers.append(header)
        return header

    def _element(self, at: int, top: int, depth: int) -> int:
        header = self._header(at, top, depth)
        is_sequence = header.vr == b"SQ" or (not header.vr and _is_sequence(header.tag))
        if not is_sequence and header.length != UNDEFINED:
            return header.value_at + header.length
        end = header.value_at + header.length if header.length != UNDEFINED else None
        at = header.value_at
        while end is None or at < end:
            part = self._header(at, top, depth + 1)
            at = part.value_at
            if part.tag == SEQUENCE_END:
                break
            if not is_sequence:  # a fragment
                at += part.length
                continue
            part_end = at + part.length if part.length != UNDEFINED else None
            while part_end is None or at < part_end:
                if part_end is None and self.content[at : at + 8] == delimiter(ITEM_END, order=self.encoding.order):
                    self._header(at, top, depth + 1)
                    at += 8
                    break
                at = self._element(at, top, depth + 2)
        return at

    def any(self, wanted=lambda header: True, *, behind: int = 1) -> Header | None:
        """A header at random, none of the first elements in three cases of four: what is behind the head is looked at by nobody else."""
        found = [header for header in self.headers if wanted(header) and header.top >= behind]
        late = [header for header in found if header.top > len(self.tops) // 2]
        return self.rng.choice(late if late and self.rng.random() < 0.6 else found) if found else None

    def some_bytes(self, most: int) -> bytes:
        return self.rng.randbytes(self.rng.randint(1, most))

    def packed(self, form: str, value: int) -> bytes:
        return struct.pack(self.encoding.order + form, value & (0xFFFF if form == "H" else 0xFFFFFFFF))


def _is_sequence(tag: int) -> bool:
    return dictionary_vr(tag) == b"SQ"


@dataclass(frozen=True)
class Mutation:
    """The bytes, the first element that may be damaged, and the first behind it that is not."""

    content: bytes
    damaged: int
    intact: int


def _replaced(whole: Whole, begin: int, end: int, by: bytes, top: int) -> Mutation:
    return Mutation(whole.content[:begin] + by + whole.content[end:], top, top + 1)


def cut(whole: Whole) -> Mutation:
    at = whole.rng.randrange(whole.tops[1].at, len(whole.content))
    return _cut(whole, at)


def _cut(whole: Whole, at: int) -> Mutation:
    top = max(header.top for header in whole.headers if header.at <= at)
    return Mutation(whole.content[:at], top, len(whole.tops))


def cut_in_a_header(whole: Whole) -> Mutation:
    header = whole.any()
    return _cut(whole, whole.rng.randrange(header.at + 1, header.value_at))


def cut_in_the_last_element(whole: Whole) -> Mutation:
    last = whole.tops[-1]
    return _cut(whole, whole.rng.randrange(last.at, len(whole.content)))


def cut_at_an_element(whole: Whole) -> Mutation:
    return _cut(whole, whole.any(lambda header: header.depth > 0 or header.top > 0).at)


def bytes_inserted_in_front(whole: Whole) -> Mutation:
    header = whole.any()
    return Mutation(whole.content[: header.at] + whole.some_bytes(8) + whole.content[header.at :], header.top, header.top + 1)


def zeros_inserted(whole: Whole) -> Mutation:
    header = whole.any()
    zeros = bytes(whole.rng.choice([1, 2, 4, 8, 12, 64]))
    return Mutation(whole.content[: header.at] + zeros + whole.content[header.at :], header.top, header.top + 1)


def bytes_inserted_in_a_value(whole: Whole) -> Mutation:
    header = whole.any(lambda header: 0 < header.length < UNDEFINED)
    at = whole.rng.randrange(header.value_at, header.value_at + header.length)
    return Mutation(whole.content[:at] + whole.some_bytes(4) + whole.content[at:], header.top, header.top + 1)


def bytes_lost_of_a_value(whole: Whole) -> Mutation:
    header = whole.any(lambda header: 0 < header.length < UNDEFINED)
    at = whole.rng.randrange(header.value_at, header.value_at + header.length)
    end = min(header.value_at + header.length, at + whole.rng.randint(1, 8))
    return _replaced(whole, at, end, b"", header.top)


def a_header_lost(whole: Whole) -> Mutation:
    header = whole.any()
    return _replaced(whole, header.at, header.value_at, b"", header.top)


def bytes_of_a_header_lost(whole: Whole) -> Mutation:
    header = whole.any()
    at = whole.rng.randrange(header.at, header.value_at)
    return _replaced(whole, at, min(header.value_at, at + whole.rng.randint(1, 4)), b"", header.top)


def _length(whole: Whole, header: Header, length: int) -> Mutation:
    at, form = header.length_at
    return _replaced(whole, at, at + struct.calcsize(form), whole.packed(form, length), header.top)


def a_length_off(whole: Whole) -> Mutation:
    header = whole.any(lambda header: header.length < UNDEFINED)
    return _length(whole, header, max(0, header.length + whole.rng.choice([-8, -4, -2, -1, 1, 2, 4, 8, 16, 100])))


def a_length_flipped(whole: Whole) -> Mutation:
    header = whole.any(lambda header: header.length < UNDEFINED)
    return _length(whole, header, header.length ^ (1 << whole.rng.randrange(16)))


def a_length_in_other_order(whole: Whole) -> Mutation:
    header = whole.any(lambda header: 0 < header.length < UNDEFINED)
    at, form = header.length_at
    size = struct.calcsize(form)
    return _replaced(whole, at, at + size, whole.content[at : at + size][::-1], header.top)


def a_length_undefined(whole: Whole) -> Mutation:
    return _length(whole, whole.any(lambda header: header.length < UNDEFINED), UNDEFINED)


def an_item_length_off(whole: Whole) -> Mutation | None:
    header = whole.any(lambda header: header.tag == ITEM and header.length < UNDEFINED, behind=0)
    return header and _length(whole, header, max(0, header.length + whole.rng.choice([-10, -8, -3, 2, 5, 8, 30])))


def a_sequence_length_off(whole: Whole) -> Mutation | None:
    header = whole.any(lambda header: _is_sequence(header.tag) and 0 < header.length < UNDEFINED, behind=0)
    return header and _length(whole, header, max(0, header.length + whole.rng.choice([-10, -8, -3, 2, 5, 8, 30])))


def an_item_lost(whole: Whole) -> Mutation | None:
    header = whole.any(lambda header: header.tag in (ITEM, ITEM_END, SEQUENCE_END), behind=0)
    return header and _replaced(whole, header.at, header.value_at, b"", header.top)


def a_vr_of_another(whole: Whole) -> Mutation | None:
    header = whole.any(lambda header: header.vr)
    vr = whole.rng.choice([b"UN", b"OB", b"SQ", b"LO", b"US", b"UI", b"AA", b"Zz", b"  ", b"\0\0", b"\xff\xff", b"UT", b"OW"])
    return header and _replaced(whole, header.at + 4, header.at + 6, vr, header.top)


def a_bit_of_a_header_flipped(whole: Whole) -> Mutation:
    header = whole.any()
    at = whole.rng.randrange(header.at, header.value_at)
    return _replaced(whole, at, at + 1, bytes([whole.content[at] ^ (1 << whole.rng.randrange(8))]), header.top)


def a_block_overwritten(whole: Whole) -> Mutation:
    begin = whole.rng.randrange(whole.tops[len(whole.tops) // 3].at, whole.tops[-1].value_at)
    end = min(len(whole.content), begin + whole.rng.choice([4, 8, 16, 64]))
    first, last = (max(header.top for header in whole.headers if header.at < at) for at in (begin + 1, end))
    filling = whole.rng.choice([b"\0", b"\xff", b" ", b"A"]) * (end - begin)
    return Mutation(whole.content[:begin] + filling + whole.content[end:], first, last + 1)


def a_block_twice(whole: Whole) -> Mutation:
    header = whole.any()
    begin = header.at
    end = min(len(whole.content), begin + whole.rng.choice([3, 8, 20, 64]))
    return Mutation(whole.content[:end] + whole.content[begin:], header.top, len(whole.tops))


def bytes_behind(whole: Whole) -> Mutation:
    more = whole.some_bytes(40)
    return Mutation(whole.content + more, len(whole.tops), len(whole.tops))


def an_element_cut_behind(whole: Whole) -> Mutation:
    header = whole.any(lambda header: header.depth == 0 and header.length < UNDEFINED)
    end = min(header.value_at + header.length, header.at + 20)
    return Mutation(whole.content + whole.content[header.at : whole.rng.randrange(header.at + 1, max(end, header.at + 2))], len(whole.tops), len(whole.tops))


def an_unknown_sequence(whole: Whole) -> Mutation:
    """A sequence of VR UN and undefined length (PS3.5 6.2.2), damaged within."""
    header = whole.any(lambda header: header.depth == 0)
    order = whole.encoding.order
    inside = struct.pack("<HHL", 0x0008, 0x0100, 4) + b"CODE" + struct.pack("<HHL", 0x0008, 0x0102, 4) + b"DCM "
    content = whole.rng.choice(
        [
            item(inside) + delimiter(SEQUENCE_END),
            item(inside + delimiter(ITEM_END), UNDEFINED) + delimiter(SEQUENCE_END),
            item(inside, len(inside) + 6) + delimiter(SEQUENCE_END),
            item(inside),
            item(encode([Element(0x00080100, b"SH", b"CODE")], whole.encoding), order=order) + delimiter(SEQUENCE_END, order=order),
            inside + delimiter(SEQUENCE_END),
            whole.some_bytes(20) + delimiter(SEQUENCE_END),
            item(inside[:-3], len(inside) - 3) + delimiter(SEQUENCE_END),
        ]
    )
    vr = whole.rng.choice([b"UN", b"UN", b"SQ", b"OB"])
    added = Element(0x00091010, vr, content, UNDEFINED).encode(whole.encoding)
    return Mutation(whole.content[: header.at] + added + whole.content[header.at :], header.top, header.top + 1)


def an_identity_again(whole: Whole) -> Mutation:
    header = whole.any(lambda header: header.depth == 0)
    tag = whole.rng.choice([SOP_CLASS, SOP_INSTANCE])
    value = whole.rng.choice([b"1.2.3.4.5", b"", b"1.2.840.10008.5.1.4.1.1.7"])
    added = text(tag, b"UI", value).encode(whole.encoding)
    return Mutation(whole.content[: header.at] + added + whole.content[header.at :], header.top, header.top)


def elements_in_other_order(whole: Whole) -> Mutation:
    first, second = sorted(whole.rng.sample(range(1, len(whole.tops)), 2))
    moved = [*whole.elements]
    moved[first], moved[second] = moved[second], moved[first]
    return Mutation(encode(moved, whole.encoding), first, second + 1)


def something_in_front(whole: Whole) -> Mutation:
    meta = encode([text(0x00020010, b"UI", b"1.2.840.10008.1.2.1")], EXPLICIT_LE)
    file = bytes(128) + b"DICM" + meta
    front = whole.rng.choice([bytes(8), bytes(16), file + file, bytes(1), b"\r\n", b"DICM" + meta, whole.some_bytes(8), delimiter(ITEM_END), b"\xff" * 8])
    return Mutation(front + whole.content, 0, 0)


def sequences_left_open(whole: Whole) -> Mutation:
    header = whole.any(lambda header: header.depth == 0)
    depth = whole.rng.choice([1, 2, 10, 600])
    opened = Element(0x00081140, b"SQ", b"", UNDEFINED).encode(whole.encoding) + item(b"", UNDEFINED, whole.encoding.order)
    return Mutation(whole.content[: header.at] + opened * depth + whole.content[header.at :], header.top, len(whole.tops))


MUTATIONS = (
    cut, cut_in_a_header, cut_in_the_last_element, cut_at_an_element, bytes_inserted_in_front, zeros_inserted, bytes_inserted_in_a_value,
    bytes_lost_of_a_value, a_header_lost, bytes_of_a_header_lost, a_length_off, a_length_flipped, a_length_in_other_order, a_length_undefined,
    an_item_length_off, a_sequence_length_off, an_item_lost, a_vr_of_another, a_bit_of_a_header_flipped, a_block_overwritten, a_block_twice,
    bytes_behind, an_element_cut_behind, an_unknown_sequence, an_identity_again, elements_in_other_order, something_in_front, sequences_left_open,
)  # fmt: skip


def _stream_mutations(stream: bytes, rng: random.Random) -> bytes:
    """A deflated stream, damaged as it stands."""
    at = rng.randrange(len(stream) // 2, len(stream))
    return rng.choice(
        [
            lambda: stream[:at],
            lambda: stream[:at] + b"\xff" * 6 + stream[at:],
            lambda: stream[:at] + b"\xff\xff\xff" + stream[at + 3 :],
            lambda: stream[:at] + stream[at + 2 :],
            lambda: stream + rng.randbytes(rng.randint(1, 20)),
        ]
    )()


def cases(seed: int, count: int) -> list[Case]:
    """So many cases; each depends on the seed and its own number alone."""
    bases = malformed_datasets.bases()
    found: list[Case] = []
    for number in itertools.count():
        rng = random.Random(f"{seed} {number}")
        base = bases[BASES[number % len(BASES)]]
        mutate = MUTATIONS[(number // len(BASES) + number) % len(MUTATIONS)]
        if case := _case(base, mutate, rng, f"{seed}.{number} {base.label}: {mutate.__name__.replace('_', ' ')}"):
            found.append(case)
        if len(found) == count:
            return found


def _case(base: Base, mutate, rng: random.Random, name: str) -> Case | None:
    uid = b"1.2.826.0.1.3680043.8.498.%d" % (zlib.crc32(name.encode()) + 1)
    elements = changed(base.elements, SOP_INSTANCE, value=text(SOP_INSTANCE, b"UI", uid).value)
    whole = Whole(elements, base.encoding, rng)
    mutation = mutate(whole)
    if mutation is None:
        return None
    tags = [element.tag for element in elements]
    front, behind = frozenset(tags[: mutation.damaged]), frozenset(tags[mutation.intact :])
    content = mutation.content
    if base.transfer_syntax == malformed_datasets.DEFLATED:
        content = malformed_datasets.deflated(content)
        if rng.random() < 0.4:
            content, front, behind = _stream_mutations(malformed_datasets.deflated(whole.content), rng), frozenset(), frozenset()
            name += ", deflated before"
    return Case(name, base.sop_class, uid, base.transfer_syntax, content, front=front, behind=behind)
