"""What every stored file must be, whoever sent it."""

import warnings

import pydicom
from pydicom.uid import UID

import peers
from part10 import Part10


def check_all_stored(node, **titles: str) -> None:
    """Each stored file is what `check_stored` asks for."""
    files = node.stored()
    said = peers.run("dcmftest", *(file.path for file in files)).stdout.splitlines()
    assert len(said) == len(files) and all(line.startswith("yes:") for line in said), said
    for file in files:
        check_stored(file, **titles)


def check_stored(file: Part10, *, calling: str, receiving: str = "TIDEGATE") -> None:
    """The file meta is complete and right, and pydicom reads the file."""
    assert file.preamble == bytes(128)
    assert file.meta[0x0001] == b"\x00\x01"
    assert UID(file.text(0x0012)).is_valid, "implementation class UID"
    assert file.text(0x0013).startswith("TIDEGATE") and len(file.meta[0x0013]) <= 16
    assert file.text(0x0016) == calling, "source AE title"
    assert file.text(0x0017) == calling, "sending AE title"
    assert file.text(0x0018) == receiving, "receiving AE title"
    assert all(len(value) % 2 == 0 for value in file.meta.values())

    with warnings.catch_warnings():
        # The corpus has odd values on purpose; pydicom says so of each.
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(file.path)
    assert read.file_meta.FileMetaInformationGroupLength == file.group_length
    assert str(read.file_meta.MediaStorageSOPInstanceUID) == file.sop_instance
    assert str(read.get("SOPInstanceUID", file.sop_instance)) == file.sop_instance
    assert str(read.get("SOPClassUID", file.sop_class)) == file.sop_class


def check_dumps_like(file: Part10, original) -> None:
    """dcmdump makes of the stored dataset what it makes of the file it was sent from."""

    def dump(path):
        done = peers.run("dcmdump", "--quiet", "--print-all", path, expect=None)
        _, _, dataset = done.stdout.partition("# Dicom-Data-Set")
        return done.returncode, dataset

    assert dump(file.path) == dump(original)


def check_same(receiver, reference) -> None:
    """Two receivers of the same files hold the same datasets, byte for byte, in the same transfer syntaxes."""
    ours, theirs = receiver.received(), reference.received()
    name = lambda instance: (instance[0], instance[1], len(instance[2]))
    assert theirs, "the reference receiver has nothing"
    assert not theirs - ours, f"missing or different: {sorted(map(name, theirs - ours))}"
    assert not ours - theirs, f"never sent: {sorted(map(name, ours - theirs))}"
