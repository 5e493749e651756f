"""What the tests of storage commitment share: images that are stored, what a report says of them, and what `tidegate commitments` says."""

import json
import time

import corpus
import modality
import peers
import scu
from ct import CT, element, image
from node import Node

CONTEXTS = [(CT, [corpus.EXPLICIT])]
CALLING = "CT1"
# From the response to the report, without a failed attempt: the grace on the association and that of the evaluation, on a busy machine.
SOON_S = 20
# The first retry is due after 30 s, give or take a tenth.
RETRIED_S = 60
STUDY = "1.2.826.0.1.3680043.10.1462.7"


def instance(number: int) -> tuple[str, bytes]:
    """The SOP Instance UID and the dataset of an image."""
    uid = f"{STUDY}.1.{number}"
    return uid, image(uid, STUDY, element(0x0010, 0x0020, b"LO", b"P1"), bytes(2000))


def store(node: Node, numbers, association=None) -> list[tuple[str, str]]:
    """Stores images, each acknowledged, and returns them as references."""
    if association is None:
        with scu.associated(node.port, CONTEXTS, calling=CALLING) as own:
            return store(node, numbers, own)
    for number in numbers:
        uid, dataset = instance(number)
        assert scu.store(association, CT, uid, corpus.EXPLICIT, dataset, number % 60000 + 1) == 0x0000
    return [(CT, instance(number)[0]) for number in numbers]


def check_committed(report, references, *, asked_on=False, called="TIDEGATE"):
    """A report says that all is committed, and says so of what was asked."""
    assert (report.event_type, report.failed) == (modality.ALL_COMMITTED, {})
    assert report.committed == set(references)
    assert report.on_the_association_that_asked == asked_on
    assert report.retrieve_ae_title in (None, called)
    if not asked_on:
        assert report.calling == called, "the title that the modality knows the node by"


def tidegate(node: Node, *arguments: str, expect: int | None = 0):
    """Asks the node by the command line."""
    return peers.run("tidegate", *arguments, "--storage", node.root, variable=Node.binary_variable, expect=expect)


def commitments(node: Node) -> dict:
    """What `tidegate commitments --json` says."""
    done = tidegate(node, "commitments", "--json", expect=None)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def wait_for_reported(node: Node, number: int) -> int:
    """Waits until that many requests are reported; how many are."""
    deadline = time.monotonic() + SOON_S
    while True:
        reported = sum(one["state"] == "reported" for one in commitments(node)["commitments"])
        if reported >= number or time.monotonic() > deadline:
            return reported
        time.sleep(0.2)
