"""The status of everything that is not stored, and what the node does with the association then: it keeps it."""

import io

import pytest
from pynetdicom import dimse_primitives

import corpus
import scu

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
CONTEXTS = [(CT, [corpus.EXPLICIT]), (MR, [corpus.EXPLICIT]), (VERIFICATION, [corpus.EXPLICIT])]


def ct_small():
    return corpus.sample("test_files/CT_small.dcm")


def check_refused_and_alive(node, status, sop_class, sop_instance, dataset, *, context_class=CT):
    """One refusal stores nothing and hurts nothing: the next instance on the same association is stored."""
    sample = ct_small()
    with scu.associated(node.port, CONTEXTS) as association:
        primitive = scu.store_request(sop_class, sop_instance, dataset)
        context = scu.context_id(association, context_class, corpus.EXPLICIT)
        response = scu.exchange(association, primitive, context)
        assert response.Status == status, f"{response.Status:04X} {response.ErrorComment}"
        assert node.files() == []
        good = scu.store(association, CT, sample.sop_instance, corpus.EXPLICIT, sample.dataset, 2)
        assert good == 0x0000
    assert [file.dataset for file in node.stored()] == [sample.dataset]


def test_class_of_another_context(node):
    sample = ct_small()
    check_refused_and_alive(node, 0xA900, MR, sample.sop_instance, sample.dataset)


def test_storing_on_a_verification_context(node):
    sample = ct_small()
    check_refused_and_alive(node, 0x0122, VERIFICATION, sample.sop_instance, sample.dataset, context_class=VERIFICATION)


@pytest.mark.parametrize("uid", ["1.2.840/../../etc/passwd", "../../../../tmp/escape", "1.2\\3"])
def test_instance_uid_that_is_none(node, uid):
    check_refused_and_alive(node, 0x0117, CT, uid, ct_small().dataset)


def test_instance_of_another_uid(node):
    check_refused_and_alive(node, 0xA900, CT, "1.2.3.4.5", ct_small().dataset)


def test_dataset_of_another_class(node):
    mr = corpus.sample("test_files/MR_small.dcm")
    check_refused_and_alive(node, 0xA900, CT, mr.sop_instance, mr.dataset)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 1000, b"GET / HTTP/1.1\r\n\r\n" * 20, b"\x08\x00\x16\x00UI\xff\xff1.2", b"\x08\x00"],
    ids=["ff", "text", "value past the end", "half a tag"],
)
def test_dataset_that_is_none(node, garbage):
    check_refused_and_alive(node, 0xC000, CT, "1.2.3.4.5", garbage)


def test_disk_below_its_reserve(start_node):
    node = start_node(storage__min_free="1000 TiB")
    sample = ct_small()
    with scu.associated(node.port, CONTEXTS) as association:
        for message_id in (1, 2):
            status = scu.store(association, CT, sample.sop_instance, corpus.EXPLICIT, sample.dataset, message_id)
            assert status == 0xA700
    assert node.files() == []


def request_of(kind: str):
    """A request of another DIMSE service, as complete as pynetdicom insists on."""
    primitive = getattr(dimse_primitives, kind)()
    primitive.MessageID = 7
    settings = {
        "AffectedSOPClassUID": CT,
        "AffectedSOPInstanceUID": "1.2.3",
        "RequestedSOPClassUID": CT,
        "RequestedSOPInstanceUID": "1.2.3",
        "Priority": 2,
        "MoveDestination": "SOMEWHERE",
        "EventTypeID": 1,
        "ActionTypeID": 1,
        "Identifier": io.BytesIO(b"\x08\x00\x52\x00CS\x06\x00STUDY "),
        "ModificationList": io.BytesIO(b"\x08\x00\x52\x00CS\x06\x00STUDY "),
        "EventInformation": io.BytesIO(b"\x08\x00\x52\x00CS\x06\x00STUDY "),
    }
    for name, value in settings.items():
        if hasattr(type(primitive), name):
            setattr(primitive, name, value)
    return primitive


KINDS = ["C_FIND", "C_GET", "C_MOVE", "N_ACTION", "N_CREATE", "N_DELETE", "N_EVENT_REPORT", "N_GET", "N_SET"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_operations(node, kind):
    sample = ct_small()
    with scu.associated(node.port, CONTEXTS) as association:
        response = scu.exchange(association, request_of(kind), 1)
        assert type(response).__name__ == kind, "the response of another service"
        assert response.Status == 0x0211
        assert scu.store(association, CT, sample.sop_instance, corpus.EXPLICIT, sample.dataset, 8) == 0x0000


def test_echo_between_instances(node):
    sample = ct_small()
    with scu.associated(node.port, CONTEXTS) as association:
        assert association.send_c_echo().Status == 0x0000
        assert scu.store(association, CT, sample.sop_instance, corpus.EXPLICIT, sample.dataset, 2) == 0x0000
        assert association.send_c_echo(msg_id=3).Status == 0x0000
