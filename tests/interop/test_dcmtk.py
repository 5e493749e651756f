"""DCMTK's senders: what another receiver gets of them and what the node stores of them is the same, byte for byte."""

import pydicom
import pytest

import corpus
import peers
from checks import check_all_stored, check_same

# What storescu calls proposing each compressed transfer syntax.
PROPOSALS = {
    "1.2.840.10008.1.2.4.70": "--propose-lossless",
    "1.2.840.10008.1.2.4.50": "--propose-jpeg8",
    "1.2.840.10008.1.2.4.51": "--propose-jpeg12",
    "1.2.840.10008.1.2.4.90": "--propose-j2k-lossless",
    "1.2.840.10008.1.2.4.91": "--propose-j2k-lossy",
    "1.2.840.10008.1.2.4.80": "--propose-jls-lossless",
    "1.2.840.10008.1.2.4.81": "--propose-jls-lossy",
    "1.2.840.10008.1.2.5": "--propose-rle",
    corpus.DEFLATED: "--propose-deflated",
}


def storescu(receiver, *arguments, calling="STORESCU", **options):
    """Sends to a node or to the reference receiver."""
    titles = ["-aet", calling, "-aec", receiver.ae_title]
    return peers.run("storescu", "-v", *titles, "127.0.0.1", receiver.port, *arguments, **options)


def storescu_to_both(node, reference, *arguments):
    """The same to both; `--no-halt` sends on behind a file that storescu itself cannot send."""
    done = {storescu(receiver, "--no-halt", *arguments, expect=None).returncode for receiver in (reference, node)}
    assert len(done) == 1, f"storescu ends differently: {done}"
    check_same(node, reference)
    check_all_stored(node, calling="STORESCU")


def paths(samples):
    return [sample.path for sample in samples]


def test_echoscu(node):
    for titles in (["-aec", "TIDEGATE"], ["-aec", "ANOTHER_AET"], ["-aet", "SIXTEEN_LETTERS_", "-aec", "TIDEGATE"]):
        peers.run("echoscu", "-v", *titles, "--repeat", 5, "127.0.0.1", node.port)
    peers.run("echoscu", "--propose-ts", 38, "--propose-pc", 128, "127.0.0.1", node.port)
    peers.run("echoscu", "--abort", "127.0.0.1", node.port)
    peers.run("echoscu", "127.0.0.1", node.port)


@pytest.mark.parametrize("proposal", ["--propose-uncompr", "--propose-little", "--propose-big", "--propose-implicit"])
def test_storescu_uncompressed(keeping_node, reference, proposal):
    # With implicit VR alone storescu converts everything to it.
    storescu_to_both(keeping_node, reference, proposal, *paths(corpus.of_syntaxes(*corpus.UNCOMPRESSED)))
    assert len(keeping_node.files()) > 100


@pytest.mark.parametrize("transfer_syntax", PROPOSALS)
def test_storescu_compressed(keeping_node, reference, transfer_syntax):
    samples = corpus.readable_to_dcmtk(corpus.of_syntaxes(transfer_syntax))
    # Of all SOP classes storescu proposes only the older ones, unless it is told to look into the files first.
    storescu_to_both(keeping_node, reference, "--required", PROPOSALS[transfer_syntax], *paths(samples))
    stored = [file for file in keeping_node.stored() if file.transfer_syntax == transfer_syntax]
    assert {file.sop_instance for file in stored} == {sample.sop_instance for sample in samples}


@pytest.mark.parametrize("options", [["--required"], ["--combine"], ["--required", "--combine"]])
def test_storescu_ways_of_proposing(keeping_node, reference, options):
    samples = corpus.of_syntaxes("1.2.840.10008.1.2.5", corpus.EXPLICIT)
    storescu_to_both(keeping_node, reference, "--propose-rle", *options, *paths(samples))


@pytest.mark.parametrize("pdu_bytes", [4096, 131072])
def test_storescu_pdu_lengths(start_node, reference, pdu_bytes):
    node = start_node(storage__duplicates="keep-both", associations__max_pdu_length=f"{pdu_bytes}")
    samples = [sample for sample in corpus.of_syntaxes(corpus.EXPLICIT) if len(sample.dataset) > 30_000]
    storescu_to_both(node, reference, "--max-pdu", pdu_bytes, *paths(samples))
    storescu(node, "--required", "--max-send-pdu", 4096, *paths(samples))


def test_storescu_directory_and_repetition(keeping_node, reference):
    directory = corpus.pydicom_files() / "test_files/dicomdirtests/98892003"
    storescu_to_both(keeping_node, reference, "--scan-directories", "--recurse", "--repeat", 3, directory)
    assert len(keeping_node.files()) == 17, "a resend of the same bytes is not stored again"


def test_storescu_user_identity(node):
    sample = corpus.sample("test_files/CT_small.dcm")
    storescu(node, "-usr", "someone", sample.path)
    storescu(node, "-usr", "someone", "-pwd", "secret", sample.path)
    assert [file.sop_instance for file in node.stored()] == [sample.sop_instance]
    # A node without users has verified nobody, and confirms nobody (PS3.7 §D.3.3.7.2).
    storescu(node, "-usr", "someone", "-pwd", "secret", "--pos-response", sample.path, expect=1)


def test_storescu_abort_leaves_what_was_acknowledged(node):
    samples = [corpus.sample(f"test_files/{name}_small.dcm") for name in ("CT", "MR")]
    storescu(node, "--abort", *paths(samples))
    assert {file.sop_instance for file in node.stored()} == {sample.sop_instance for sample in samples}
    storescu(node, *paths(samples))


def test_storescu_larger_than_the_spool_threshold(start_node, reference, tmp_path):
    node = start_node(memory__spool_threshold="1 MiB")
    image = pydicom.dcmread(corpus.sample("test_files/CT_small.dcm").path)
    image.Rows, image.Columns = 4096, 4096
    image.PixelData = bytes(range(256)) * (4096 * 4096 * 2 // 256)
    image.save_as(tmp_path / "large.dcm")
    storescu_to_both(node, reference, tmp_path / "large.dcm")


def dcmsend_to_both(node, reference, *arguments):
    """As `storescu_to_both`. dcmsend's exit code says whether every single instance was taken."""
    for receiver in (reference, node):
        titles = ["-aec", receiver.ae_title]
        peers.run("dcmsend", "-v", "--no-uid-checks", *titles, "127.0.0.1", receiver.port, *arguments)
    check_same(node, reference)
    check_all_stored(node, calling="DCMSEND")


def test_dcmsend_everything(keeping_node, reference):
    files = [sample.path for sample in corpus.readable_to_dcmtk() if sample.meta_agrees]
    dcmsend_to_both(keeping_node, reference, "--decompress-never", *files)
    assert len(keeping_node.files()) > 150


@pytest.mark.parametrize("option", ["--decompress-never", "--decompress-lossless", "--decompress-lossy"])
def test_dcmsend_proposing_to_decompress(keeping_node, reference, option):
    for name in ("MR_small_RLE", "MR_small_jpeg_ls_lossless", "JPEG-lossy", "SC_rgb_jpeg_gdcm"):
        dcmsend_to_both(keeping_node, reference, option, corpus.sample(f"test_files/{name}.dcm").path)


def test_dcmsend_single_association_with_small_pdus(keeping_node, reference):
    files = [s.path for s in corpus.readable_to_dcmtk(corpus.of_syntaxes(corpus.EXPLICIT)) if s.meta_agrees]
    dcmsend_to_both(keeping_node, reference, "--single-association", "--max-send-pdu", 4096, "--max-pdu", 4096, *files)


def test_dcmsend_from_a_dicomdir(keeping_node, reference):
    directory = corpus.pydicom_files() / "test_files/dicomdirtests"
    dcmsend_to_both(keeping_node, reference, "--read-from-dicomdir", directory / "DICOMDIR")
    assert len(keeping_node.files()) == 31
