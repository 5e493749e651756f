"""Access rules, user identity and balancers with real peers."""

import subprocess
from pathlib import Path

import pytest
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

import corpus
import peers
import scu
from balancer import Haproxy
from node import Node

CONTEXTS = [(Verification, [corpus.EXPLICIT]), (CTImageStorage, [corpus.EXPLICIT]), (MRImageStorage, [corpus.EXPLICIT])]

RULES = """
[[access]]
name = "ct"
action = "allow"
calling = ["CT*"]
sop_class = ["CTImageStorage"]
layout = "ct/{SOPInstanceUID}.dcm"

[[access]]
name = "balanced"
action = "allow"
from = ["203.0.113.0/24"]
"""


@pytest.fixture
def start_with(start_node, tmp_path: Path):
    """Starts a node with a configuration file."""

    def start(text: str) -> Node:
        path = tmp_path / "tidegate.toml"
        path.write_text(text)
        return start_node(configuration=path)

    return start


def test_a_rule_turns_away_titles_and_contexts_and_has_a_layout_of_its_own(start_with):
    node = start_with(RULES)
    answer = scu.rejected(node.port, CONTEXTS, calling="MR1")
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
    with scu.associated(node.port, CONTEXTS, calling="CT1") as association:
        assert [context.abstract_syntax for context in association.accepted_contexts] == [Verification, CTImageStorage]
        (rejected,) = association.rejected_contexts
        assert rejected.result == 1, "user rejection"
    sample = corpus.sample("test_files/CT_small.dcm")
    peers.run("storescu", "-v", "-aet", "CT7", "-aec", "TIDEGATE", "127.0.0.1", node.port, sample.path)
    assert node.files() == [node.root / "ct" / f"{sample.sop_instance}.dcm"]
    done = peers.run("storescu", "-aet", "XA", "-aec", "TIDEGATE", "127.0.0.1", node.port, sample.path, expect=None)
    assert done.returncode != 0 and "Calling AE Title Not Recognized" in done.stdout + done.stderr


def hashed(name: str, passcode: str) -> str:
    return subprocess.run(
        [peers.program("tidegate", variable=Node.binary_variable), "hash-passcode", name],
        input=f"{passcode}\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def identity(name: str, passcode: str | None = None, response: bool = True) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = 1 if passcode is None else 2
    item.primary_field = name.encode()
    if passcode is not None:
        item.secondary_field = passcode.encode()
    item.positive_response_requested = response
    return item


def test_users_with_their_passcodes(start_node, tmp_path):
    users = tmp_path / "users"
    users.write_text(hashed("someone", "secret"))
    users.chmod(0o600)
    node = start_node(user_identity__file=str(users), user_identity__required="true")
    sample = corpus.sample("test_files/CT_small.dcm")
    target = ["-aec", "TIDEGATE", "127.0.0.1", node.port, sample.path]
    peers.run("storescu", "-v", "-usr", "someone", "-pwd", "secret", "--pos-response", *target)
    assert len(node.files()) == 1
    for wrong in (["-usr", "someone", "-pwd", "other"], ["-usr", "nobody", "-pwd", "secret"], ["-usr", "someone"], []):
        assert peers.run("storescu", *wrong, *target, expect=None).returncode != 0
    with scu.associated(node.port, CONTEXTS, extended=[identity("someone", "secret")]) as association:
        assert any(isinstance(item, UserIdentityNegotiation) for item in association.acceptor.user_information)
    answer = scu.rejected(node.port, CONTEXTS, extended=[identity("someone", "wrong")])
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 1)
    log = node.log_path.read_text()
    assert "secret" not in log and "argon2" not in log


@pytest.fixture
def haproxy(tmp_path: Path):
    """Starts a balancer in front of a port; it stands on the port it returns."""
    started = []

    def start(port: int, send: str) -> int:
        balancer = Haproxy(tmp_path / "haproxy", port, f"{send} check inter 100ms")
        balancer.start()
        started.append(balancer)
        return balancer.port

    yield start
    for balancer in started:
        balancer.stop()


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy_the_node_sees_the_sender(start_with, haproxy, send):
    rule = '[[access]]\nname = "loopback"\naction = "allow"\nfrom = ["127.0.0.9"]\n'
    node = start_with(f'[node]\nproxy_protocol_from = ["127.0.0.1"]\n{rule}')
    front = haproxy(node.port, send)
    sample = corpus.sample("test_files/CT_small.dcm")
    # The balancer's health checks say nothing of DICOM; who comes from 127.0.0.1 is not in the rule.
    assert scu.rejected(front, CONTEXTS).diagnostic == 1
    ae = scu.AE(ae_title="BEHIND")
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", front, bind_address=("127.0.0.9", 0))
    assert association.is_established
    assert association.send_c_store(sample.path).Status == 0
    association.release()
    assert len(node.files()) == 1
    assert "peer=127.0.0.9:" in node.log_path.read_text()
    # Past the balancer nobody may speak for another, and a sender without a header is refused.
    assert peers.run("echoscu", "127.0.0.1", node.port, expect=None).returncode != 0
