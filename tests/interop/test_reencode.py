"""Real files, written in each other native transfer syntax: pydicom reads the same elements with the same values, and so does DCMTK, whose own
converter writes the same file again."""

import io
import os
import subprocess
import warnings
from pathlib import Path

import pydicom
import pytest
from corpus import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, of_syntaxes
from part10 import Part10
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO

NATIVE = {IMPLICIT: "implicit", EXPLICIT: "explicit", DEFLATED: "deflated", BIG_ENDIAN: "big-endian"}
REENCODE = Path(os.environ["TIDEGATE_BIN"]).parent / "examples" / "reencode"

# By name: why a dataset is refused, whatever the other syntax. Each is one that no reader reads to its end.
REFUSED = {
    "test_files/MR_truncated.dcm": "dataset ends within the value of (7FE0,0010): 62 bytes are missing",
    "test_files/rtplan_truncated.dcm": "dataset ends within the value of (300A,012C): 21 bytes are missing",
}
# With samples of 32 bits in OW.
LONG_SAMPLES = {f"test_files/rtdose{variant}.dcm" for variant in ("", "_1frame", "_expb", "_expb_1frame")} | {"test_files/badVR.dcm"}


@pytest.fixture(autouse=True)
def un_stays_un(monkeypatch):
    """pydicom would read UN in big endian in the order of the dataset. It is little endian in each (PS3.5 6.2.2, note 2)."""
    monkeypatch.setattr(pydicom.config, "replace_un_with_known_vr", False)


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["cargo", "build", "-q", "--locked", "-p", "tidegate-reencode", "--example", "reencode"], check=True)


def reencode(dataset: bytes, source: str, target: str) -> subprocess.CompletedProcess:
    return subprocess.run([REENCODE, source, target], input=dataset, capture_output=True, timeout=60, check=False)


def part10(dataset: bytes, transfer_syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = transfer_syntax, "1.2", "1.2.3"
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(file, meta)
    return b"\0" * 128 + b"DICM" + file.getvalue() + dataset


def read(dataset: bytes, transfer_syntax: str) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(part10(dataset, transfer_syntax)))


# One is the other where the dictionary leaves a choice (PS3.5 A.1), or the VR was lost on the way.
EITHER = [{"OB", "OW"}, {"US", "OW"}, {"US", "SS"}]


def same_vr(tag, one: str, other: str, goes_through_implicit: bool) -> bool:
    if one == other or {one, other} in EITHER:
        return True
    return goes_through_implicit and (tag.is_private or "UN" in (one, other) or " or " in one + other)


UNITS = {"OW": 2, "OL": 4, "OF": 4, "OV": 8, "OD": 8}


def raw(element, transfer_syntax: str) -> bytes | str:
    """The value; of words, in little endian."""
    value = element.value
    if not isinstance(value, bytes):
        return str(value)
    unit = UNITS.get(element.VR, 1) if transfer_syntax == BIG_ENDIAN else 1
    return b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit)) if unit > 1 else value


def differences(one: Dataset, other: Dataset, syntaxes: tuple[str, str], implicit: bool, path: str = "") -> list[str]:
    found = []
    tags = lambda dataset: [tag for tag in dataset.keys() if tag.element != 0]  # noqa: E731
    if tags(one) != tags(other):
        return [f"{path}: other elements: {set(tags(one)) ^ set(tags(other))}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in tags(one):
            at = f"{path}{tag}"
            a, b = one[tag], other[tag]
            if not same_vr(tag, a.VR, b.VR, implicit):
                found.append(f"{at}: {a.VR} and {b.VR}")
            elif a.VR == "SQ" and b.VR == "SQ":
                if len(a.value) != len(b.value):
                    found.append(f"{at}: {len(a.value)} and {len(b.value)} items")
                for number, (x, y) in enumerate(zip(a.value, b.value)):
                    found += differences(x, y, syntaxes, implicit, f"{at}[{number}].")
            elif a.VR == b.VR and (values := [raw(a, syntaxes[0]), raw(b, syntaxes[1])]) and values[0] != values[1]:
                found.append(f"{at}: {str(values[0])[:40]} and {str(values[1])[:40]}")
    return found


def as_dcmtk_writes(dataset: bytes, transfer_syntax: str, directory: Path) -> bytes | None:
    """The dataset that DCMTK makes of it, in one form: implicit VR, undefined lengths, no group lengths. None: it cannot read it."""
    (directory / "in.dcm").write_bytes(part10(dataset, transfer_syntax))
    made = subprocess.run(["dcmconv", "-q", "+ti", "-e", "-g", "in.dcm", "out.dcm"], cwd=directory, timeout=60, check=False)
    return Part10(directory / "out.dcm").dataset if made.returncode == 0 else None


@pytest.mark.parametrize("sample", of_syntaxes(*NATIVE), ids=lambda sample: sample.name)
def test_real_files(sample, tmp_path):
    source = sample.transfer_syntax
    by_dcmtk = as_dcmtk_writes(sample.dataset, source, tmp_path)
    for target in NATIVE:
        if target == source:
            continue
        there = reencode(sample.dataset, source, target)
        if sample.name in REFUSED:
            assert (there.returncode, there.stderr.decode().strip()) == (1, REFUSED[sample.name])
            continue
        if sample.name in LONG_SAMPLES and (target == BIG_ENDIAN) != (source == BIG_ENDIAN):
            assert b"bits allocated" in there.stderr and there.returncode == 1
            continue
        assert there.returncode == 0, there.stderr
        implicit = IMPLICIT in (source, target)
        before = read(sample.dataset, source)
        assert differences(before, read(there.stdout, target), (source, target), implicit) == [], NATIVE[target]
        if by_dcmtk is not None:
            assert as_dcmtk_writes(there.stdout, target, tmp_path) == by_dcmtk, NATIVE[target]
        # And back.
        back = reencode(there.stdout, target, source)
        assert back.returncode == 0, back.stderr
        assert differences(before, read(back.stdout, source), (source, source), implicit) == [], NATIVE[target]
