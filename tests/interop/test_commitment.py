"""Storage commitment with pynetdicom as modalities that behave as such devices do."""

import threading
import time

import pytest

import corpus
import modality
import scu
from committed import CONTEXTS, RETRIED_S, SOON_S, STUDY, check_committed, instance, store, wait_for_reported
from ct import CT
from modality import action_information, transaction
from node import Node

MR = "1.2.840.10008.5.1.4.1.1.4"


# The ways of a report


@pytest.mark.parametrize("syntax", [corpus.IMPLICIT, corpus.EXPLICIT])
def test_a_modality_that_waits_on_its_association(node, make_modality, syntax):
    ct = make_modality(syntax=syntax)
    references = store(node, range(20))
    with ct.associated(node.port) as association:
        uid = transaction()
        assert ct.ask(association, action_information(uid, references)) == 0
        check_committed(ct.report(uid), references, asked_on=True)
        # The response is never overtaken.
        assert ct.messages == ["N-ACTION-RSP", "N-EVENT-REPORT-RQ"]
        # And once more: the association has been used for both.
        other = transaction()
        assert ct.ask(association, action_information(other, references[:1])) == 0
        check_committed(ct.report(other), references[:1], asked_on=True)
        assert association.is_established


@pytest.mark.parametrize("syntax", [corpus.IMPLICIT, corpus.EXPLICIT])
def test_a_modality_that_releases_at_once_and_listens(start_knowing, make_modality, syntax):
    ct = make_modality(syntax=syntax).listen()
    node = start_knowing(ct)
    references = store(node, range(20))
    uid = ct.request(node.port, references)
    check_committed(ct.report(uid), references)
    assert ct.associations == 1


def test_a_modality_that_knows_the_node_by_another_title_is_called_from_it(start_knowing, make_modality):
    ct = make_modality().listen(takes_calling="PACS")
    node = start_knowing(ct)
    references = store(node, [1])
    uid = transaction()
    with ct.associated(node.port, called="PACS") as association:
        assert ct.ask(association, action_information(uid, references)) == 0
    assert ct.report(uid).calling == "PACS"


def test_a_modality_that_aborts_after_the_response(start_knowing, make_modality):
    ct = make_modality().listen()
    node = start_knowing(ct)
    references = store(node, [1, 2])
    uid = transaction()
    with ct.associated(node.port) as association:
        assert ct.ask(association, action_information(uid, references)) == 0
        association.abort()
    check_committed(ct.report(uid), references)


def test_a_request_on_the_association_of_the_images(node, make_modality):
    ct = make_modality()
    with ct.associated(node.port, CONTEXTS) as association:
        references = store(node, range(5), association)
        uid = transaction()
        assert ct.ask(association, action_information(uid, references)) == 0
        # The association is not idle: images come between the request and its report.
        store(node, range(5, 10), association)
        check_committed(ct.report(uid), references, asked_on=True)
        store(node, range(10, 12), association)


def test_a_modality_that_answers_late_delays_no_other(start_knowing, make_modality):
    slow = make_modality("SLOW", answer=modality.late(15)).listen()
    quick = make_modality("QUICK").listen()
    node = start_knowing(slow, quick)
    references = store(node, [1])
    late = slow.request(node.port, references)
    slow.report(late)
    began = time.monotonic()
    for _ in range(5):
        check_committed(quick.report(quick.request(node.port, references)), references)
    assert time.monotonic() - began < 15, "each came while the slow one had not answered"
    time.sleep(max(0, began + 18 - time.monotonic()))
    assert len(slow.of(late)) == 1, "an answer within the node's patience is one"


def test_a_modality_that_answers_without_event_type(start_knowing, make_modality):
    ct = make_modality(answer=modality.tersely).listen()
    node = start_knowing(ct)
    references = store(node, [1])
    uid = ct.request(node.port, references)
    check_committed(ct.report(uid), references)
    with ct.associated(node.port) as association:
        other = transaction()
        assert ct.ask(association, action_information(other, references)) == 0
        check_committed(ct.report(other), references, asked_on=True)
    assert wait_for_reported(node, 2) == 2
    assert (len(ct.of(uid)), len(ct.of(other))) == (1, 1)


# What is tried again


def test_what_fails_is_tried_again(start_knowing, make_modality):
    """All at once, since each waits for half a minute: modalities that are down, refuse the role, reject the node's title, abort, or answer a
    failure, and that do better when they are called again."""
    down = make_modality("DOWN")
    roleless = make_modality("ROLELESS").listen(takes_the_role=False)
    rejecting = make_modality("REJECTING").listen(takes_calling="SOMEBODY")
    aborting = make_modality("ABORTING", answer=modality.aborts).listen()
    failing = make_modality("FAILING", answer=modality.answers(0x0110)).listen()
    all_of_them = [down, roleless, rejecting, aborting, failing]
    node = start_knowing(*all_of_them)
    references = store(node, range(3))
    asked = {ct: ct.request(node.port, references) for ct in all_of_them}
    # An answer of the peer is no delivery.
    first = {ct: ct.report(asked[ct]) for ct in (aborting, failing)}
    deadline = time.monotonic() + SOON_S
    while roleless.associations == 0 or rejecting.associations == 0:
        assert time.monotonic() < deadline, "each is called"
        time.sleep(0.05)
    time.sleep(2)
    for ct in (roleless, rejecting):
        ct.close()
    for ct in (down, roleless, rejecting):
        assert ct.reports == []
        ct.listen()
    for ct in (aborting, failing):
        ct.answer = modality.takes
    for ct in (down, roleless, rejecting):
        check_committed(ct.report(asked[ct], limit_s=RETRIED_S), references)
    for ct in (aborting, failing):
        again = ct.report(asked[ct], number=2, limit_s=RETRIED_S)
        check_committed(again, references)
        assert again.at - first[ct].at > 25, "not at once"
    assert wait_for_reported(node, 5) == 5
    for ct in all_of_them:
        assert len(ct.of(asked[ct])) <= 2, "and not again once it was taken"


@pytest.mark.parametrize("offers_scp", [False, True])
def test_a_modality_without_an_address_gets_it_when_it_comes_again(node, make_modality, offers_scp):
    ct = make_modality()
    references = store(node, range(3))
    uid = ct.request(node.port, references)
    time.sleep(3)
    store(node, [7])
    other = make_modality("OTHER")
    with other.associated(node.port, offers_scp=True):
        time.sleep(3)
    assert (ct.reports, other.reports) == ([], []), "only who asked is told, and where it can be"
    with ct.associated(node.port, offers_scp=offers_scp) as association:
        check_committed(ct.report(uid), references, asked_on=True)
        assert association.is_established


def test_a_restart_between_request_and_report(start_knowing, tmp_path, make_modality):
    ct = make_modality()
    first = start_knowing(ct)
    references = store(first, range(3))
    uid = ct.request(first.port, references)
    first.stop()
    assert ct.reports == []
    ct.listen()
    second = Node(first.root.parent, configuration=tmp_path / "tidegate.toml")
    try:
        check_committed(ct.report(uid, limit_s=RETRIED_S), references)
    finally:
        second.stop()


# What is asked


def test_asked_twice(node, make_modality):
    ct = make_modality()
    references = store(node, range(3))
    uid = ct.request(node.port, references)
    with ct.associated(node.port) as association:
        # Duplicate transaction UID: PS3.4 leaves the status open; the failure reason of that name is what readers know (PS3.3 §C.14.1.1).
        assert ct.ask(association, action_information(uid, references)) == 0x0131
        assert ct.ask(association, action_information(uid, references[:1])) == 0x0131
        fresh = transaction()
        assert ct.ask(association, action_information(fresh, references)) == 0
        check_committed(ct.report(fresh), references, asked_on=True)
    # Of another modality it is another transaction.
    other = make_modality("OTHER")
    with other.associated(node.port) as association:
        assert other.ask(association, action_information(uid, references)) == 0
        check_committed(other.report(uid), references, asked_on=True)


def test_images_on_their_way_when_they_are_asked_for(node, make_modality):
    ct = make_modality()
    late = range(100, 130)
    references = [(CT, instance(number)[0]) for number in late]
    with scu.associated(node.port, CONTEXTS, calling="CT1") as images, ct.associated(node.port) as association:
        uid = transaction()
        sending = threading.Thread(target=store, args=(node, late, images))
        sending.start()
        assert ct.ask(association, action_information(uid, references)) == 0
        sending.join()
        check_committed(ct.report(uid), references, asked_on=True)


def test_what_is_not_stored_and_what_has_another_class(node, make_modality):
    ct = make_modality()
    references = store(node, range(4))
    good, of_another_class, gone = references[:2], references[2][1], references[3][1]
    (path,) = (file.path for file in node.stored() if file.sop_instance == gone)
    path.unlink()
    never = f"{STUDY}.9.9.9"
    asked = [*good, (MR, of_another_class), (CT, gone), (CT, never)]
    with ct.associated(node.port) as association:
        uid = transaction()
        assert ct.ask(association, action_information(uid, asked)) == 0
        report = ct.report(uid)
    assert report.event_type == modality.SOME_FAILED
    assert report.committed == set(good)
    # No such object instance, and class / instance conflict (PS3.3 §C.14.1.1).
    assert report.failed == {of_another_class: 0x0119, gone: 0x0112, never: 0x0112}


def test_a_file_that_was_cut_is_not_committed(node, make_modality):
    ct = make_modality()
    references = store(node, range(2))
    (path,) = (file.path for file in node.stored() if file.sop_instance == references[0][1])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with ct.associated(node.port) as association:
        uid = transaction()
        assert ct.ask(association, action_information(uid, references)) == 0
        report = ct.report(uid)
    assert report.committed == {references[1]}
    assert report.failed.keys() == {references[0][1]}


def test_several_thousand_references(start_knowing, make_modality):
    ct = make_modality().listen()
    node = start_knowing(ct)
    stored = store(node, range(10))
    unknown = [(CT, f"{STUDY}.8.{number}") for number in range(5000)]
    uid = ct.request(node.port, stored + unknown)
    report = ct.report(uid)
    assert report.committed == set(stored)
    assert report.failed == {instance: 0x0112 for _, instance in unknown}


# Each has its response, and the association goes on.


@pytest.mark.parametrize("syntax", [corpus.IMPLICIT, corpus.EXPLICIT])
def test_malformed_requests(node, make_modality, syntax):
    ct = make_modality(syntax=syntax)
    references = store(node, [1])
    whole = action_information(transaction(), references)
    # Status by what is wrong (PS3.7 §10.1.4.1.10, annex C).
    wrong = [
        ({}, action_information(None, references), {0x0115, 0x0120}),
        ({}, action_information("", references), {0x0115, 0x0120, 0x0121}),
        ({}, action_information("not a UID", references), {0x0115}),
        ({}, action_information(transaction(), []), {0x0115, 0x0120, 0x0121}),
        ({}, action_information(transaction(), None), {0x0115, 0x0120}),
        ({}, action_information(transaction(), [("", references[0][1])]), {0x0115, 0x0120, 0x0121}),
        ({}, action_information(transaction(), [(CT, "")]), {0x0115, 0x0120, 0x0121}),
        ({}, b"\x08\x00", {0x0115, 0x0110}),
        ({}, b"\xff" * 64, {0x0115, 0x0110}),
        ({"action_type": 2}, whole, {0x0123}),
        ({"instance": "1.2.3.4"}, whole, {0x0112}),
        ({"sop_class": CT}, whole, {0x0118, 0x0119, 0x0211}),
    ]
    with ct.associated(node.port) as association:
        for options, information, allowed in wrong:
            status = ct.ask(association, information, **options)
            assert status in allowed, f"{options} {information!r}: {status:04X}"
        assert association.is_established
        uid = transaction()
        more = action_information(uid, references, ReferencedPerformedProcedureStepSequence=[], StudyInstanceUID=STUDY)
        assert ct.ask(association, more) == 0
        check_committed(ct.report(uid), references, asked_on=True)
    assert len(ct.reports) == 1


def test_a_rule_that_denies_it(start_knowing, make_modality):
    rules = """
[[access]]
name = "images-only"
action = "allow"
calling = ["IMAGES"]
commitment = false

[[access]]
name = "others"
action = "allow"
"""
    node = start_knowing(text=rules)
    references = store(node, [1])
    denied = scu.request(node.port, [(modality.PUSH_MODEL, [corpus.IMPLICIT]), *CONTEXTS], calling="IMAGES")
    assert [context.abstract_syntax for context in denied.accepted_contexts] == [CT]
    denied.release()
    ct = make_modality()
    with ct.associated(node.port) as association:
        uid = transaction()
        assert ct.ask(association, action_information(uid, references)) == 0
        check_committed(ct.report(uid), references, asked_on=True)


def test_a_node_that_is_set_not_to_commit(start_node):
    node = start_node(commitment__enabled="false")
    association = scu.request(node.port, [(modality.PUSH_MODEL, [corpus.IMPLICIT]), *CONTEXTS], calling="CT1")
    assert [context.abstract_syntax for context in association.accepted_contexts] == [CT]
    association.release()
