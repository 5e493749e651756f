"""`tidegate verify` on what real senders sent: the corpus, bit for bit, and damaged on the disk."""

import json
import os
import subprocess

import corpus
import scu

# Malformed as they are: two are cut, one has an element twice, one has bytes behind its deflated stream.
MALFORMED_MOST = 8


def send_corpus(node) -> None:
    """Sends every sample as it is, each over an association of its own."""
    for sample in corpus.samples():
        contexts = [(sample.sop_class, [sample.transfer_syntax])]
        with scu.associated(node.port, contexts) as association:
            scu.store(association, sample.sop_class, sample.sop_instance, sample.transfer_syntax, sample.dataset)


def verify(node, *arguments: str):
    """Exit code, verdicts by path, totals."""
    command = [os.environ["TIDEGATE_BIN"], "verify", str(node.root), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *verdicts, totals = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {verdict["path"]: verdict for verdict in verdicts}, totals


def test_what_real_senders_sent_is_whole_or_malformed_as_received(keeping_node):
    send_corpus(keeping_node)
    code, verdicts, totals = verify(keeping_node)
    assert code == 0, verdicts
    assert totals["files"] == len(keeping_node.files()) >= corpus.LEAST_FILES - 20
    assert (totals["damaged"], totals["without_digest"]) == (0, 0)
    told = " ".join(fault for verdict in verdicts.values() for fault in verdict["faults"])
    assert 1 <= totals["malformed_as_received"] == len(verdicts) <= MALFORMED_MOST, told
    assert "dataset ends within the value of (7FE0,0010)" in told, told

    # Every bit counts, whoever sent it: one is flipped in the middle of each file.
    for path in keeping_node.files():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x40
        path.write_bytes(content)
    code, verdicts, totals = verify(keeping_node)
    assert code == 1
    assert totals["damaged"] == totals["files"] == len(verdicts)
