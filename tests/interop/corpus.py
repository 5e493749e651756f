"""The real files the suite sends: pydicom's test files and, where they are installed, nibabel's scans."""

import functools
import gzip
import importlib.util
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from part10 import Part10

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
UNCOMPRESSED = {IMPLICIT, EXPLICIT, BIG_ENDIAN}

# Says JPEG Baseline, so explicit VR, and is implicit VR.
MISENCODED = "test_files/SC_rgb_jpeg.dcm"
# DCMTK, which Orthanc is built on, does not read these well enough to send them: it finds no SOP class, or no end.
UNREADABLE_TO_DCMTK = {
    MISENCODED,
    "test_files/MR_truncated.dcm",
    "test_files/rtdose_rle.dcm",
    "test_files/rtdose_rle_1frame.dcm",
    "test_files/rtplan_truncated.dcm",
}

# The pieces of the corpus that a suite must never silently run without.
LEAST_FILES = 150
LEAST_TRANSFER_SYNTAXES = 12


@dataclass(frozen=True)
class Sample:
    """A file that can be sent: a SOP Class, a SOP Instance UID, a transfer syntax and the dataset's bytes."""

    name: str
    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    dataset: bytes = field(repr=False)
    # Whether the file meta names the instance that the dataset is. Some senders take the UIDs of the command from there.
    meta_agrees: bool


def _package_directory(name: str) -> Path:
    # Found, not imported: nibabel would want numpy for that.
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin, f"the Python package {name} is not installed"
    return Path(spec.origin).parent


def pydicom_files() -> Path:
    """The directory of the test files inside pydicom's wheel."""
    return _package_directory("pydicom") / "data"


@functools.cache
def _unpacked() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="interop-corpus-")


def _candidates():
    root = pydicom_files()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield str(path.relative_to(root)), path
    root = _package_directory("nibabel") / "nicom/tests/data"
    for path in sorted(root.iterdir()):
        if path.name.endswith(".dcm.gz"):
            unpacked = Path(_unpacked().name) / path.stem
            unpacked.write_bytes(gzip.decompress(path.read_bytes()))
            yield f"nibabel/{path.stem}", unpacked
        elif path.suffix == ".dcm":
            yield f"nibabel/{path.name}", path


@functools.cache
def samples() -> tuple[Sample, ...]:
    """Every file that can be sent as it is."""
    found = []
    for name, path in _candidates():
        try:
            with warnings.catch_warnings():
                # The corpus has odd files on purpose; pydicom says so of each.
                warnings.simplefilter("ignore")
                head = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue
        transfer_syntax = head.file_meta.get("TransferSyntaxUID")
        if not (head.get("SOPClassUID") and head.get("SOPInstanceUID") and transfer_syntax):
            continue
        file = Part10(path)
        found.append(
            Sample(
                name=name,
                path=path,
                sop_class=str(head.SOPClassUID),
                sop_instance=str(head.SOPInstanceUID),
                transfer_syntax=str(transfer_syntax),
                dataset=file.dataset,
                meta_agrees=(file.sop_class, file.sop_instance) == (head.SOPClassUID, head.SOPInstanceUID),
            )
        )
    assert len(found) >= LEAST_FILES, f"only {len(found)} files to send"
    syntaxes = {sample.transfer_syntax for sample in found}
    assert len(syntaxes) >= LEAST_TRANSFER_SYNTAXES, f"only the transfer syntaxes {sorted(syntaxes)}"
    return tuple(found)


def sample(name: str) -> Sample:
    """The one sample of that name."""
    return next(sample for sample in samples() if sample.name == name)


def readable_to_dcmtk(chosen=None) -> list[Sample]:
    """Those of the chosen samples, or of all, that DCMTK can send."""
    return [sample for sample in chosen or samples() if sample.name not in UNREADABLE_TO_DCMTK]


def of_syntaxes(*transfer_syntaxes: str) -> list[Sample]:
    """The samples of any of these transfer syntaxes; never none."""
    chosen = [sample for sample in samples() if sample.transfer_syntax in transfer_syntaxes]
    assert chosen, f"no sample of {transfer_syntaxes}"
    return chosen
