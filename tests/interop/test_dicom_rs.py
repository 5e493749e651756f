"""dicom-rs's storescu."""

import pytest

import corpus
import peers
from checks import check_all_stored, check_same

STORESCU = "dicom-storescu"
VARIABLE = "DICOM_STORESCU"


def send_to_both(node, reference, *arguments):
    for receiver in (reference, node):
        target = f"{receiver.ae_title}@127.0.0.1:{receiver.port}"
        peers.run(STORESCU, "--fail-first", *arguments, target, *files(), variable=VARIABLE)
    check_same(node, reference)
    check_all_stored(node, calling="STORE-SCU")


def files():
    """One of each transfer syntax and the larger ones."""
    # It takes the UIDs of the command from the file meta.
    samples = [sample for sample in corpus.samples() if sample.meta_agrees]
    chosen = {sample.transfer_syntax: sample.path for sample in samples}
    large = [sample.path for sample in samples if len(sample.dataset) > 100_000]
    return sorted({*chosen.values(), *large})


def test_storescu(keeping_node, reference):
    send_to_both(keeping_node, reference, "--verbose")
    assert len(keeping_node.files()) >= 12


@pytest.mark.parametrize("length_bytes", [4096, 131072])
def test_storescu_pdu_lengths(keeping_node, reference, length_bytes):
    send_to_both(keeping_node, reference, "--max-pdu-length", length_bytes)


def test_storescu_at_once(keeping_node, reference):
    send_to_both(keeping_node, reference, "--concurrency", 4)


def test_storescu_user_identity(keeping_node, reference):
    send_to_both(keeping_node, reference, "--username", "someone", "--password", "secret")
