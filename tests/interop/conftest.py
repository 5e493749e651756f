"""Fixtures: a node, a second receiver to compare it with, and an Orthanc."""

from pathlib import Path

import pytest

from modality import Modality
from node import Node
from nodes import starting
from peers import Orthanc
from pki import Authority
from reference import ReferenceReceiver


start_node = starting(Node)


@pytest.fixture
def node(start_node) -> Node:
    """A node with the default settings."""
    return start_node()


@pytest.fixture
def keeping_node(start_node) -> Node:
    """A node that keeps every version of an instance: the corpus has several files under one SOP Instance UID."""
    return start_node(storage__duplicates="keep-both")


@pytest.fixture
def reference():
    """A receiver of another implementation, for what a sender that re-encodes really sends."""
    receiver = ReferenceReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def orthanc(tmp_path: Path, keeping_node: Node, reference: ReferenceReceiver):
    """An Orthanc that knows the node and the reference receiver."""
    modalities = {
        "tidegate": (keeping_node.ae_title, keeping_node.port),
        "reference": (reference.ae_title, reference.port),
    }
    server = Orthanc(tmp_path, modalities)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    """Certificates of the node, and of a peer that it calls at 127.0.0.1."""
    authority = Authority(tmp_path_factory.mktemp("pki"))
    authority.sign("peer", "/CN=peer", "DNS:localhost,IP:127.0.0.1")
    return authority


@pytest.fixture
def start_knowing(start_node, tmp_path: Path):
    """Starts a node that knows where modalities are called."""

    def start(*modalities: Modality, text: str = "") -> Node:
        path = tmp_path / "tidegate.toml"
        known = (
            f'[[peer]]\nae_title = "{known.ae_title}"\naddress = "127.0.0.1:{known.port}"\n' for known in modalities
        )
        path.write_text(text + "".join(known))
        return start_node(configuration=path)

    return start


@pytest.fixture
def make_modality():
    """Makes modalities, which listen for reports no more when the test is over."""
    made = []

    def make(ae_title="CT1", **options) -> Modality:
        made.append(Modality(ae_title, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
