"""Datasets that are malformed but look real: pydicom's, pynetdicom's and DCMTK's test files, each with one fault."""

import gzip
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import corpus
import pynetdicom
from corpus import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from elements import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ITEM,
    ITEM_END,
    PIXELS,
    SEQUENCE_END,
    SERIES,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY,
    UNDEFINED,
    Element,
    Encoding,
    changed,
    decode,
    delimiter,
    encode,
    index,
    item,
    text,
    without,
)
from part10 import Part10

JPEG, RLE, JPEG_2000, MPEG2 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.100"
CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT, PATIENT_ID, MODALITY = 0x00100010, 0x00100020, 0x00080060
PRIVATE_SEQUENCE = 0x00091010
ENCODINGS = {IMPLICIT: IMPLICIT_LE, BIG_ENDIAN: EXPLICIT_BE}


@dataclass(frozen=True)
class Case:
    """A C-STORE request, and the association request in front of it where that is the fault."""

    name: str
    sop_class: str
    sop_instance: bytes
    transfer_syntax: str
    dataset: bytes = field(repr=False)
    # The elements of the command set, and the whole A-ASSOCIATE-RQ, where they are other than usual.
    command: bytes | None = field(default=None, repr=False)
    request: bytes | None = field(default=None, repr=False)
    context: int = 1
    # The tags in front of the damage, of which a reader must find each, and those behind it, of which it must find one.
    front: frozenset[int] = field(default=frozenset(), repr=False)
    behind: frozenset[int] = field(default=frozenset(), repr=False)

    def is_found_in(self, tags: frozenset[int]) -> bool:
        """Whether a reader that found these tags has read the dataset, and not only ended without an error."""
        return bool(tags) and self.front <= tags and (not self.behind or bool(self.behind & tags))


class Base:
    """A test file to make cases of, with a SOP Instance UID of the case's own."""

    def __init__(self, name: str, dataset: bytes, transfer_syntax: str, label: str):
        self.label, self.transfer_syntax, self.sample = label, transfer_syntax, name
        self.encoding: Encoding = ENCODINGS.get(transfer_syntax, EXPLICIT_LE)
        if transfer_syntax == DEFLATED:
            dataset = zlib.decompressobj(-15).decompress(dataset)
        # The UIDs of a Part 10 file's dataset stand in its order; nothing else of the file is used.
        self.elements = decode(dataset, self.encoding)
        self.sop_class = self.value(SOP_CLASS)

    def value(self, tag: int) -> str:
        return self.elements[index(self.elements, tag)].value.decode("ascii").rstrip("\0 ")

    def case(self, name: str, make, *, syntax: str | None = None, instance: bytes | None = None, **more) -> Case:
        """A case of what `make` makes of the elements: elements, or bytes."""
        name = f"{self.label}: {name}"
        uid = instance if instance is not None else b"1.2.826.0.1.3680043.8.498.%d" % (zlib.crc32(name.encode()) + 1)
        elements = changed(self.elements, SOP_INSTANCE, value=text(SOP_INSTANCE, b"UI", uid).value)
        made = make(elements)
        dataset = made if isinstance(made, bytes) else encode(made, self.encoding)
        return Case(name, more.pop("sop_class", self.sop_class), uid, syntax or self.transfer_syntax, dataset, **more)


def _sample(name: str, label: str) -> Base:
    sample = corpus.sample(name)
    return Base(name, sample.dataset, sample.transfer_syntax, label)


def _file(path: Path, label: str) -> Base:
    file = Part10(path)
    return Base(path.name, file.dataset, file.transfer_syntax, label)


def bases() -> dict[str, Base]:
    pynetdicom_files = Path(pynetdicom.__file__).parent / "tests" / "dicom_files"
    named = {
        "ct": "CT_small.dcm",
        "mr": "MR_small.dcm",
        "implicit": "MR_small_implicit.dcm",
        "plan": "rtplan.dcm",
        "report": "reportsi.dcm",
        "big endian": "MR_small_bigendian.dcm",
        "jpeg": "SC_rgb_jpeg_dcmtk.dcm",
        "rle": "SC_rgb_rle.dcm",
        "jpeg 2000": "JPEG2000.dcm",
        "capture": "SC_rgb_small_odd.dcm",
    }
    found = {label: _sample(f"test_files/{name}", label) for label, name in named.items()}
    found["deflated"] = _file(pynetdicom_files / "SCImageStorage_Deflated.dcm", "deflated")
    return found


def deflated(content: bytes, window: int = -15) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(content) + packer.flush()


def real_files(base) -> Iterator[Case]:
    """Odd files as they are."""
    odd = (
        "test_files/badVR.dcm",
        "test_files/MR_truncated.dcm",
        "test_files/rtplan_truncated.dcm",
        "test_files/SC_rgb_jpeg.dcm",
        "test_files/rtdose_rle_1frame.dcm",
        "test_files/JPEG2000-embedded-sequence-delimiter.dcm",
        "test_files/reportsi_with_empty_number_tags.dcm",
        "test_files/MR_small_padded.dcm",
        "test_files/SC_rgb_gdcm_KY.dcm",
        "charset_files/chrJapMulti.dcm",
        "charset_files/chrX2.dcm",
        "charset_files/chrH32.dcm",
        "nibabel/slicethickness_empty_string.dcm",
    )
    for name in odd:
        sample = corpus.sample(name)
        yield Case(f"as it is: {name}", sample.sop_class, sample.sop_instance.encode(), sample.transfer_syntax, sample.dataset)


def cut(base) -> Iterator[Case]:
    """Datasets that end early."""
    for label in ("ct", "implicit", "plan", "report", "big endian", "jpeg"):
        each = base[label]
        for tag in (SOP_CLASS, SOP_INSTANCE, PATIENT, STUDY):
            yield each.case(f"ends before ({tag:08X})", lambda e, tag=tag: e[: index(e, tag)])
        yield each.case("ends before its last element", lambda e: e[:-1])
        for share in (25, 50, 75, 99):
            yield each.case(f"cut at {share} %", lambda e, b=each, s=share: (whole := encode(e, b.encoding))[: len(whole) * s // 100])
        for missing in (1, 2, 9):
            yield each.case(f"lacks its last {missing} bytes", lambda e, b=each, m=missing: encode(e, b.encoding)[:-m])
        for kept in (1, 4, 6):
            yield each.case(
                f"ends {kept} bytes into the header of (0020000D)",
                lambda e, b=each, k=kept: encode(e[: index(e, STUDY)], b.encoding) + e[index(e, STUDY)].encode(b.encoding)[:k],
            )
    for kept in (0, 1, 3, 7):
        yield base["ct"].case(f"is {kept} bytes long", lambda e, k=kept: encode(e, EXPLICIT_LE)[:k])


def lengths(base) -> Iterator[Case]:
    """Elements whose length is not that of their value."""
    for label in ("ct", "implicit", "big endian"):
        each = base[label]
        for tag in (PATIENT, MODALITY, PIXELS):
            for longer in (-2, -1, 1, 2, 1000):
                change = lambda e, t=tag, n=longer: changed(e, t, length=max(0, len(e[index(e, t)].value) + n))
                yield each.case(f"({tag:08X}) says {longer:+} bytes", change)
        yield each.case("pixel data of 2 GiB", lambda e: changed(e, PIXELS, length=0x7FFFFFF0))
        yield each.case("pixel data of odd length", lambda e: changed(e, PIXELS, value=e[index(e, PIXELS)].value[:-1]))
        yield each.case("a name of odd length", lambda e: changed(e, PATIENT, value=b"Odd"))
        yield each.case("a UID of odd length", lambda e: changed(e, SERIES, value=b"1.2.3"))
        yield each.case("every value of odd length", lambda e: [_odd(element) for element in e])
    yield base["ct"].case("a group length that lies", lambda e: [Element(0x00080000, b"UL", b"\xff\xff\0\0"), *e])
    yield base["ct"].case("a name of 65534 bytes", lambda e: changed(e, PATIENT, value=b"A" * 65534))
    yield base["implicit"].case("a name of 70000 bytes", lambda e: changed(e, PATIENT, value=b"A" * 70000))


def _odd(element: Element) -> Element:
    is_text = element.vr in (b"LO", b"SH", b"CS", b"PN", b"DS", b"IS", b"ST")
    return Element(element.tag, element.vr, element.value[:-1]) if is_text and element.value else element


def representations(base) -> Iterator[Case]:
    """Elements with a VR that is not theirs, or none."""
    each = base["ct"]
    for tag, vr in (
        (PATIENT, b"UN"),
        (PATIENT, b"??"),
        (PATIENT, b"\0\0"),
        (PATIENT, b"  "),
        (PATIENT, b"pn"),
        (PATIENT, b"ZZ"),
        (PATIENT, b"SQ"),
        (PATIENT, b"OB"),
        (SOP_INSTANCE, b"LO"),
        (SOP_INSTANCE, b"UN"),
        (SOP_INSTANCE, b"--"),
        (STUDY, b"SH"),
        (0x00280010, b"UL"),
        (0x00280010, b"SS"),
        (0x00280010, b"DS"),
        (0x00280010, b"OW"),
        (0x00280010, b"QQ"),
        (PIXELS, b"OB"),
        (PIXELS, b"UN"),
        (PIXELS, b"OF"),
        (PIXELS, b"SQ"),
        (PIXELS, b"LO"),
    ):
        yield each.case(f"({tag:08X}) has the VR {vr!r}", lambda e, t=tag, v=vr: changed(e, t, vr=v))
    # As some writers have it: a VR of long form, with a length in short form.
    short = lambda e: b"".join(
        x.encode(EXPLICIT_LE) if x.tag != 0x00081140 else struct.pack("<HH2sH", 8, 0x1140, b"SQ", len(x.value)) + x.value
        for x in [*e[: index(e, PATIENT)], Element(0x00081140, b"SQ", item(b"")), *e[index(e, PATIENT) :]]
    )
    yield each.case("a sequence with a length in short form", short)
    yield each.case("the reserved bytes of pixel data are not zero", lambda e: encode(e[:-1], EXPLICIT_LE) + b"\xe0\x7f\x10\0OW\x41\x42" + e[-1].encode(EXPLICIT_LE)[8:] if e[-1].tag == PIXELS else encode(e, EXPLICIT_LE))


def encodings(base) -> Iterator[Case]:
    """Datasets that are not in the transfer syntax of their context."""
    for label in ("ct", "mr", "report", "implicit", "plan", "big endian"):
        each = base[label]
        for name, syntax in (("implicit", IMPLICIT), ("explicit", EXPLICIT), ("big endian", BIG_ENDIAN), ("deflated", DEFLATED)):
            if syntax != each.transfer_syntax:
                yield each.case(f"said to be {name}", lambda e: e, syntax=syntax)
    for name, make in (
        ("with a zlib header", lambda d: deflated(d, 15)),
        ("by gzip", lambda d: gzip.compress(d, mtime=0)),
        ("twice", lambda d: deflated(deflated(d))),
        ("and cut in the middle", lambda d: (z := deflated(d))[: len(z) // 2]),
        ("and cut before its end", lambda d: deflated(d)[:-3]),
        ("with bytes behind it", lambda d: deflated(d) + b"trailing"),
        ("with a zero behind it", lambda d: deflated(d) + b"\0"),
        ("with a zlib checksum behind it", lambda d: deflated(d) + struct.pack(">L", zlib.adler32(d))),
        ("in two streams", lambda d: deflated(d[: len(d) // 2]) + deflated(d[len(d) // 2 :])),
        ("and damaged", lambda d: (z := deflated(d))[: len(z) // 2] + b"\xff\xff\xff\xff" + z[len(z) // 2 + 4 :]),
        ("and stored", lambda d: zlib.compressobj(0, wbits=-15).compress(d) + b"\x03\0"),
    ):
        yield base["deflated"].case(f"deflated {name}", lambda e, m=make: m(encode(e, EXPLICIT_LE)), syntax=DEFLATED)
        if name in ("with a zlib header", "and cut in the middle"):
            yield base["ct"].case(f"deflated {name}", lambda e, m=make: m(encode(e, EXPLICIT_LE)), syntax=DEFLATED)
    yield base["deflated"].case("deflated, said to be explicit", lambda e: deflated(encode(e, EXPLICIT_LE)), syntax=EXPLICIT)
    yield base["deflated"].case("deflated implicit", lambda e: deflated(encode(e, IMPLICIT_LE)), syntax=DEFLATED)
    yield base["ct"].case("explicit up to the pixel data, then implicit", lambda e: encode(e[: index(e, PIXELS)], EXPLICIT_LE) + encode(e[index(e, PIXELS) :], IMPLICIT_LE))
    yield base["implicit"].case("implicit up to the pixel data, then explicit", lambda e: encode(e[: index(e, PIXELS)], IMPLICIT_LE) + encode(e[index(e, PIXELS) :], EXPLICIT_LE))
    for name, uid in (("GE's big endian pixels", "1.2.840.113619.5.2"), ("Papyrus 3", "1.2.840.10008.1.20"), ("unknown", "1.3.6.1.4.1.99999.1.2"), ("retired JPEG", "1.2.840.10008.1.2.4.52")):
        yield base["ct"].case(f"transfer syntax {name}", lambda e: e, syntax=uid)


def stray_groups(base) -> Iterator[Case]:
    """Command sets, file meta and whole files in the place of the dataset."""

    def meta(syntax: str, e) -> bytes:
        uid = e[index(e, SOP_INSTANCE)].value
        elements = [
            Element(0x00020001, b"OB", b"\0\1"),
            text(0x00020002, b"UI", e[index(e, SOP_CLASS)].value),
            text(0x00020003, b"UI", uid),
            text(0x00020010, b"UI", syntax.encode()),
            text(0x00020012, b"UI", b"1.2.3"),
        ]
        body = encode(elements, EXPLICIT_LE)
        return Element(0x00020000, b"UL", struct.pack("<L", len(body))).encode(EXPLICIT_LE) + body

    for label in ("ct", "implicit", "big endian", "jpeg", "deflated"):
        each = base[label]
        own = each.transfer_syntax
        pack = deflated if label == "deflated" else lambda d: d
        body = lambda e, b=each, p=pack: p(encode(e, b.encoding))
        yield each.case("a Part 10 file", lambda e, o=own, d=body: bytes(128) + b"DICM" + meta(o, e) + d(e))
        yield each.case("file meta in front", lambda e, o=own, d=body: meta(o, e) + d(e))
        yield each.case("a preamble in front", lambda e, d=body: bytes(128) + b"DICM" + d(e))
        yield each.case("a prefix in front", lambda e, d=body: b"DICM" + d(e))
        yield each.case("a command set in front", lambda e, d=body: Element(0x00000002, b"UI", b"1.2.3\0").encode(IMPLICIT_LE) + d(e))
    each = base["ct"]
    for name, syntax in (("implicit", IMPLICIT), ("big endian", BIG_ENDIAN), ("JPEG", JPEG), ("deflated", DEFLATED)):
        yield each.case(f"a Part 10 file that says {name}", lambda e, s=syntax: bytes(128) + b"DICM" + meta(s, e) + encode(e, EXPLICIT_LE))
        yield each.case(f"file meta in front that says {name}", lambda e, s=syntax: meta(s, e) + encode(e, EXPLICIT_LE))
    for tag in (0x00000002, 0x00020010, 0x00020003):
        value = Element(tag, b"UI", b"1.2.840.10008.1.2\0")
        yield each.case(f"({tag:08X}) in the middle", lambda e, v=value: [*e[:20], v, *e[20:]])
        yield each.case(f"({tag:08X}) at the end", lambda e, v=value: [*e, v])
    yield each.case("128 zeros in front", lambda e: bytes(128) + encode(e, EXPLICIT_LE))
    yield each.case("a preamble of a TIFF file in front", lambda e: b"II*\0".ljust(128, b"\1") + b"DICM" + meta(EXPLICIT, e) + encode(e, EXPLICIT_LE))


def identities(base) -> Iterator[Case]:
    """Elements of the identity missing, empty, repeated, elsewhere or wrong."""
    for label in ("ct", "implicit"):
        each = base[label]
        names = {SOP_CLASS: "SOP class", SOP_INSTANCE: "SOP instance", STUDY: "study", SERIES: "series"}
        for tag, name in names.items():
            yield each.case(f"no {name}", lambda e, t=tag: without(e, t))
            yield each.case(f"an empty {name}", lambda e, t=tag: changed(e, t, value=b""))
            yield each.case(f"{name} twice", lambda e, t=tag: [*e[: index(e, t)], e[index(e, t)], *e[index(e, t) :]])
            yield each.case(f"{name} again, another", lambda e, t=tag: [*e[: index(e, t) + 1], Element(t, b"UI", b"1.2.3.9\0"), *e[index(e, t) + 1 :]])
            yield each.case(f"{name} at the end", lambda e, t=tag: [*without(e, t), e[index(e, t)]])
            yield each.case(f"{name} of two values", lambda e, t=tag: changed(e, t, value=text(t, b"UI", e[index(e, t)].value.rstrip(b"\0") + b"\\1.2.3").value))
        yield each.case("no identity", lambda e: without(e, *names))
        yield each.case("nothing but its identity", lambda e: [x for x in e if x.tag in names])
        yield each.case("no patient", lambda e: [x for x in e if x.tag >> 16 != 0x0010])
        yield each.case("every value empty", lambda e: [Element(x.tag, x.vr, b"") for x in e])
        yield each.case("every value empty but its identity", lambda e: [x if x.tag in names else Element(x.tag, x.vr, b"") for x in e])
        yield each.case("in reverse order", lambda e: e[::-1])
        yield each.case("shuffled", lambda e: random.Random(1).sample(e, len(e)))
        yield each.case("every element twice", lambda e: [x for x in e for _ in range(2)])
        yield each.case("the whole dataset twice", lambda e: [*e, *e])
        yield each.case("another instance than the command names", lambda e: changed(e, SOP_INSTANCE, value=b"1.2.3.4\0"))
        yield each.case("another class than the command names", lambda e: changed(e, SOP_CLASS, value=b"1.2.840.10008.5.1.4.1.1.7\0"))
        yield each.case("pixel data in front", lambda e: [e[index(e, PIXELS)], *without(e, PIXELS)])


def uids(base) -> Iterator[Case]:
    """UIDs that are none."""
    each = base["ct"]
    for name, uid in (
        ("of 65 characters", b"1.2." + b"3" * 61),
        ("of 128 characters", b"1.2." + b"4" * 124),
        ("with letters", b"1.2.840.abc.XYZ"),
        ("with dashes", b"550e8400-e29b-41d4-a716-446655440000"),
        ("with an underscore", b"1.2.840_17.4"),
        ("with a blank", b"1.2.840 18.4"),
        ("with a leading zero", b"1.2.0840.07"),
        ("that ends in a period", b"1.2.840.19."),
        ("that begins with a period", b".1.2.840.20"),
        ("with two periods", b"1.2..840.21"),
        ("of one component", b"22"),
        ("that climbs", b"../../../etc/passwd"),
        ("with a slash", b"1.2/840/23"),
        ("with a backslash", b"1.2.840\\24"),
        ("in UTF-8", "1.2.840.é".encode()),
        ("of blanks", b"    "),
        ("padded with blanks", b"1.2.840.25   "),
        ("padded with zeros", b"1.2.840.26\0\0\0\0"),
        ("behind a blank", b" 1.2.840.27"),
    ):
        yield each.case(f"a SOP instance UID {name}", lambda e: e, instance=uid)
        yield each.case(f"a series UID {name}", lambda e, u=uid: changed(e, SERIES, value=text(SERIES, b"UI", u).value))


def trailing(base) -> Iterator[Case]:
    """Bytes behind the dataset."""
    for label in ("ct", "implicit", "big endian", "jpeg"):
        each = base[label]
        for name, more in (
            ("a zero", b"\0"),
            ("two zeros", bytes(2)),
            ("seven zeros", bytes(7)),
            ("512 zeros", bytes(512)),
            ("512 bytes FF", b"\xff" * 512),
            ("a line feed", b"\n"),
            ("text", b"-- end of image --"),
            ("an item delimiter", delimiter(ITEM_END, order=each.encoding.order)),
            ("a sequence delimiter", delimiter(SEQUENCE_END, order=each.encoding.order)),
        ):
            yield each.case(f"{name} behind it", lambda e, b=each, m=more: encode(e, b.encoding) + m)
    yield base["ct"].case("trailing padding that says more than it has", lambda e: [*e, Element(0xFFFCFFFC, b"OB", bytes(4), 400)])


def pixels(base) -> Iterator[Case]:
    """Pixel data that is not as its transfer syntax wants it (PS3.5 annex A.4)."""
    for label in ("jpeg", "rle", "jpeg 2000"):
        each = base[label]
        for name, syntax in (("explicit", EXPLICIT), ("implicit", IMPLICIT), ("big endian", BIG_ENDIAN), ("deflated", DEFLATED)):
            yield each.case(f"said to be {name}", lambda e: e, syntax=syntax)
        fragments = lambda e: e[index(e, PIXELS)].value[:-8]
        native = lambda make: lambda e: changed(e, PIXELS, value=make(e), length=None)
        open_ended = lambda make: lambda e: changed(e, PIXELS, value=make(e))
        yield each.case("its fragments in pixel data of defined length", native(lambda e, f=fragments: f(e)))
        yield each.case("its stream in pixel data of defined length", native(lambda e, f=fragments: f(e)[16:] + b"\0" * (len(f(e)) % 2)))
        yield each.case("no sequence delimiter", open_ended(lambda e, f=fragments: f(e)))
        yield each.case("no offset table", open_ended(lambda e, f=fragments: f(e)[8 + int.from_bytes(f(e)[4:8], "little") :] + delimiter(SEQUENCE_END)))
        yield each.case("an offset table that points behind the end", open_ended(lambda e, f=fragments: item(b"\xff\xff\xff\x7f") + f(e)[8 + int.from_bytes(f(e)[4:8], "little") :] + delimiter(SEQUENCE_END)))
        yield each.case("no fragment at all", open_ended(lambda e: delimiter(SEQUENCE_END)))
        yield each.case("nothing but an offset table", open_ended(lambda e: item(b"") + delimiter(SEQUENCE_END)))
        yield each.case("a fragment of odd length", open_ended(lambda e, f=fragments: f(e) + item(b"odd") + delimiter(SEQUENCE_END)))
        yield each.case("a fragment longer than the dataset", open_ended(lambda e, f=fragments: f(e) + item(b"long", 5000) + delimiter(SEQUENCE_END)))
        yield each.case("a fragment of undefined length", open_ended(lambda e, f=fragments: f(e) + item(b"open", UNDEFINED) + delimiter(ITEM_END) + delimiter(SEQUENCE_END)))
        yield each.case("a fragment with an item delimiter", open_ended(lambda e, f=fragments: f(e) + delimiter(ITEM_END) + delimiter(SEQUENCE_END)))
        yield each.case("a sequence delimiter with a length", open_ended(lambda e, f=fragments: f(e) + delimiter(SEQUENCE_END, 8)))
        yield each.case("elements between the fragments", open_ended(lambda e, f=fragments: f(e) + Element(0x7FE10010, b"LO", b"STRAY ").encode(EXPLICIT_LE) + delimiter(SEQUENCE_END)))
        yield each.case("pixel data with the VR OW", lambda e: changed(e, PIXELS, vr=b"OW"))
        yield each.case("pixel data with the VR UN", lambda e: changed(e, PIXELS, vr=b"UN"))
        yield each.case("empty pixel data", lambda e: changed(e, PIXELS, value=b"", length=None))
        yield each.case("pixel data twice", lambda e: [*e, e[index(e, PIXELS)]])
        yield each.case("another element behind the pixel data", lambda e: [*e, text(0xFFFAFFFA, b"LO", b"BEHIND")])
    for label in ("ct", "mr", "capture"):
        for name, syntax in (("JPEG", JPEG), ("RLE", RLE), ("JPEG 2000", JPEG_2000), ("MPEG2", MPEG2)):
            yield base[label].case(f"native pixels said to be {name}", lambda e: e, syntax=syntax)
    yield base["implicit"].case("native implicit said to be JPEG", lambda e: e, syntax=JPEG)
    yield base["big endian"].case("native big endian said to be RLE", lambda e: e, syntax=RLE)
    for label in ("ct", "implicit"):
        yield base[label].case("native pixels of undefined length", lambda e: changed(e, PIXELS, length=UNDEFINED))
        yield base[label].case("native pixels as a fragment", lambda e: changed(e, PIXELS, value=item(b"") + item(e[index(e, PIXELS)].value) + delimiter(SEQUENCE_END), length=UNDEFINED))
        yield base[label].case("native pixels of no bytes", lambda e: changed(e, PIXELS, value=b""))
        yield base[label].case("native pixels of half the bytes", lambda e: changed(e, PIXELS, value=e[index(e, PIXELS)].value[:1000]))


def sequences(base) -> Iterator[Case]:
    """Sequences and items that do not close, or close what is not open."""
    private = lambda value, length=UNDEFINED, vr=b"SQ", tag=0x00081140: Element(tag, vr, value, length)
    for label in ("ct", "implicit"):
        each = base[label]
        inside = text(0x00081155, b"UI", b"1.2.3").encode(each.encoding)
        closed = inside + delimiter(ITEM_END)
        begin = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
        nested = lambda depth, b=each: (private(b"").encode(b.encoding) + begin) * depth
        for name, element in (
            ("an empty sequence of undefined length", private(delimiter(SEQUENCE_END))),
            ("a sequence that does not close", private(begin + closed)),
            ("an item that does not close", private(begin + inside + delimiter(SEQUENCE_END))),
            ("neither item nor sequence closed", private(begin + inside)),
            ("an item longer than its sequence", private(item(inside, len(inside) + 400), len(inside) + 8)),
            ("an item shorter than its elements", private(item(inside, len(inside) - 3), len(inside) + 8)),
            ("a sequence longer than its items", private(item(inside), len(inside) + 8 + 2000)),
            ("a sequence shorter than its items", private(item(inside), len(inside) + 2)),
            ("elements in a sequence without an item", private(inside + delimiter(SEQUENCE_END))),
            ("elements in a sequence of defined length without an item", private(inside, None)),
            ("a delimiter with a length", private(begin + closed + delimiter(SEQUENCE_END, 4))),
            ("an item delimiter with a length", private(begin + inside + delimiter(ITEM_END, 4) + delimiter(SEQUENCE_END))),
            ("two delimiters", private(begin + closed + delimiter(SEQUENCE_END) * 2)),
            ("a sequence delimiter in a sequence of defined length", private(item(inside) + delimiter(SEQUENCE_END), None)),
            ("an item delimiter in an item of defined length", private(item(inside + delimiter(ITEM_END)) + delimiter(SEQUENCE_END))),
            ("an item delimiter behind an item of defined length", private(item(inside) + delimiter(ITEM_END) + delimiter(SEQUENCE_END))),
            ("a sequence of undefined length with the VR UN", private(begin + closed + delimiter(SEQUENCE_END), vr=b"UN")),
            ("a text of undefined length", private(b"", vr=b"UT", tag=0x00084000)),
            ("a name of undefined length", private(b"Name", vr=b"PN", tag=0x00081050)),
            ("bytes of undefined length", private(b"abcd", vr=b"OB", tag=0x00091010)),
            ("a stray item", private(b"", 0, tag=ITEM)),
            ("a stray item delimiter", private(b"", 0, tag=ITEM_END)),
            ("a stray sequence delimiter", private(b"", 0, tag=SEQUENCE_END)),
            ("a private sequence of unknown VR", private(begin + closed + delimiter(SEQUENCE_END), vr=b"UN", tag=PRIVATE_SEQUENCE)),
            ("an item with the other VR encoding", private(item(text(0x00081155, b"UI", b"1.2.3").encode(IMPLICIT_LE if label == "ct" else EXPLICIT_LE)), None)),
        ):
            yield each.case(name, lambda e, x=element: [*e[: index(e, PATIENT)], x, *e[index(e, PATIENT) :]])
            if label == "ct":
                yield each.case(f"{name}, at the end", lambda e, x=element: [*without(e, PIXELS), Element(0x00880200, x.vr, x.value, x.length) if x.tag == 0x00081140 else x])
        for depth in (3, 20, 300):
            yield each.case(f"{depth} nested sequences that do not close", lambda e, b=each, n=nested(depth): encode(e[: index(e, PATIENT)], b.encoding) + n)
            close = (delimiter(ITEM_END) + delimiter(SEQUENCE_END)) * depth
            yield each.case(f"{depth} nested sequences", lambda e, b=each, n=nested(depth) + close: encode(e[: index(e, PATIENT)], b.encoding) + n + encode(e[index(e, PATIENT) :], b.encoding))
    for label in ("plan", "report"):
        each = base[label]
        first = next(x for x in each.elements if x.vr == b"SQ")
        yield each.case("its first sequence says 6 bytes more", lambda e, t=first.tag: changed(e, t, length=len(e[index(e, t)].value) + 6))
        yield each.case("its first sequence cut", lambda e, t=first.tag: changed(e, t, value=e[index(e, t)].value[: len(e[index(e, t)].value) // 2]))
        yield each.case("its first sequence empty", lambda e, t=first.tag: changed(e, t, value=b"", length=None))


def values(base) -> Iterator[Case]:
    """Values that their VR does not allow."""
    each = base["ct"]
    for tag, value in (
        (0x00080005, b"NO SUCH SET "),
        (0x00080005, b"ISO_IR 192"),
        (0x00080005, b"\\ISO 2022 IR 87\\ISO 2022 IR 999"),
        (0x00080020, b"2020-01-01"),
        (0x00080020, b"yesterday "),
        (0x00080030, b"25:61:61"),
        (0x00100010, b"M\xfcller^\xc4nne "),
        (0x00100010, b"\x1b$BOops"),
        (0x00100010, b"A=B=C=D=E^^^^^^^"),
        (0x00100020, b"\0\0\0\0"),
        (0x00100020, b"a\nb\rc\td "),
        (0x00101010, b"42 years"),
        (0x00180050, b"thin"),
        (0x00180050, b"1,25"),
        (0x00200013, b"0x10"),
        (0x00200013, b"99999999999999"),
        (0x00280010, b"\x80\x00\x01"),
        (0x00280010, b""),
        (0x00280010, b"128 "),
        (0x00280100, b"\x10"),
        (0x00081140, b"abcd"),
    ):
        if tag not in {x.tag for x in each.elements}:
            vr = {0x00080005: b"CS", 0x00101010: b"AS", 0x00081140: b"SQ"}[tag]
            place = lambda e, t=tag, v=value, r=vr: sorted([*e, Element(t, r, v)], key=lambda x: x.tag)
        else:
            place = lambda e, t=tag, v=value: changed(e, t, value=v)
        yield each.case(f"({tag:08X}) is {value!r}", place)


def commands(base) -> Iterator[Case]:
    """Command sets (PS3.7 9.3.1) that deviate, each with a dataset as it should be."""
    import wire

    each = base["ct"]
    uid = lambda name: b"1.2.826.0.1.3680043.8.498.%d" % (zlib.crc32(name.encode()) + 1)

    def case(name: str, make, instance: bytes | None = None) -> Case:
        instance = instance or uid(name)
        return each.case(f"command: {name}", lambda e: e, instance=instance, command=make(wire.store_elements(CT.encode(), instance), instance))

    element, us, whole = wire.command_element, wire.unsigned_short, wire.command_set
    drop = lambda elements, number: [x for x in elements if x[2:4] != us(number)]
    swap = lambda elements, number, value: [element(number, value) if x[2:4] == us(number) else x for x in elements]
    yield case("no group length", lambda e, i: b"".join(e))
    yield case("group length +2", lambda e, i: whole(*e, longer=2))
    yield case("group length 0", lambda e, i: element(0, bytes(4)) + b"".join(e))
    yield case("no priority", lambda e, i: whole(*drop(e, 0x0700)))
    yield case("priority 7", lambda e, i: whole(*swap(e, 0x0700, us(7))))
    yield case("no SOP class", lambda e, i: whole(*drop(e, 0x0002)))
    yield case("an empty SOP class", lambda e, i: whole(*swap(e, 0x0002, b"")))
    yield case("SOP class of another context", lambda e, i: whole(*swap(e, 0x0002, b"1.2.840.10008.5.1.4.1.1.7")))
    yield case("no SOP instance", lambda e, i: whole(*drop(e, 0x1000)))
    yield case("an empty SOP instance", lambda e, i: whole(*swap(e, 0x1000, b"")))
    yield case("in reverse order", lambda e, i: whole(*e[::-1]))
    yield case("every element twice", lambda e, i: whole(*[x for x in e for _ in range(2)]))
    yield case("elements it should not have", lambda e, i: whole(*e, element(0x0600, b"DEST"), element(0x0900, us(0))))
    yield case("a move originator", lambda e, i: whole(*e, element(0x1030, b"MOVER "), element(0x1031, us(9))))
    yield case("private elements", lambda e, i: whole(*e, struct.pack("<HHL", 9, 0x10, 4) + b"PRIV"))
    yield case("data set type 1", lambda e, i: whole(*swap(e, 0x0800, us(1))))
    yield case("data set type FFFF", lambda e, i: whole(*swap(e, 0x0800, us(0xFFFF))))
    yield case("UIDs padded with blanks", lambda e, i: whole(*swap(e, 0x1000, i.ljust(len(i) + 4))))
    yield case("UIDs of odd length", lambda e, i: whole(*[x for x in e if x[2:4] != us(0x1000)], struct.pack("<HHL", 0, 0x1000, len(i) | 1) + i[: len(i) | 1].ljust(len(i) | 1, b"\0")))
    yield case("message id 0", lambda e, i: whole(*swap(e, 0x0110, us(0))))
    yield case("group length of 2 bytes", lambda e, i: element(0, us(sum(map(len, e)))) + b"".join(e))


KINDS = (real_files, cut, lengths, representations, encodings, stray_groups, identities, uids, trailing, pixels, sequences, values, commands)


def cases() -> list[Case]:
    base = bases()
    return [case for kind in KINDS for case in kind(base)]
