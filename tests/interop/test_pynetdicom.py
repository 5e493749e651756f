"""pynetdicom as the requestor: every file of the corpus as its bytes are, and every kind of negotiation."""

import threading

import pytest
from pynetdicom import build_role
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation

import corpus
import peers
import scu
from checks import check_dumps_like, check_stored
from node import Node

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
PRIVATE_CLASS = "1.3.6.1.4.1.99999.1.2.3"
PRIVATE_SYNTAX = "1.3.6.1.4.1.99999.4.5.6"


@pytest.fixture(scope="module")
def one_node(tmp_path_factory):
    """One node for the whole corpus, where several files share a SOP Instance UID."""
    node = Node(tmp_path_factory.mktemp("corpus"), storage__duplicates="keep-both")
    yield node
    node.stop()


def status_of(sample) -> int:
    """Of implicit VR under a compressed syntax no label is true: a reader that believes the file meta fails."""
    return 0xC000 if sample.name == corpus.MISENCODED else 0x0000


@pytest.mark.parametrize("sample", corpus.samples(), ids=lambda sample: sample.name)
def test_corpus(one_node, sample):
    sent_before = (sample.sop_instance, sample.transfer_syntax, sample.dataset) in one_node.received()
    before = set(one_node.files())
    with scu.associated(one_node.port, [(sample.sop_class, [sample.transfer_syntax])]) as association:
        arguments = (sample.sop_class, sample.sop_instance, sample.transfer_syntax, sample.dataset)
        assert scu.store(association, *arguments) == status_of(sample)
    new = [file for file in one_node.stored() if file.path not in before]
    if sent_before or status_of(sample):
        assert not new, "what is refused, or a resend of the same bytes, is not stored"
        return
    (file,) = new
    assert (file.sop_class, file.sop_instance) == (sample.sop_class, sample.sop_instance)
    assert file.transfer_syntax == sample.transfer_syntax
    assert file.dataset == sample.dataset
    check_stored(file, calling=scu.CALLING)
    peers.run("dcmftest", file.path)
    check_dumps_like(file, sample.path)


def ct_small():
    return corpus.sample("test_files/CT_small.dcm")


def store_ct(association, message_id=1):
    sample = ct_small()
    return scu.store(association, CT, sample.sop_instance, corpus.EXPLICIT, sample.dataset, message_id)


def variant(number: int) -> tuple[str, bytes]:
    """Another instance made of CT_small: its SOP Instance UID and its dataset, of the same length."""
    sample = ct_small()
    old = sample.sop_instance
    new = old[: -len(str(number)) - 2] + ".1" + str(number)
    assert len(new) == len(old) and sample.dataset.count(old.encode()) == 1
    return new, sample.dataset.replace(old.encode(), new.encode())


def test_whole_corpus_over_one_association(start_node):
    node = start_node(storage__duplicates="keep-both")
    pairs = sorted({(sample.sop_class, sample.transfer_syntax) for sample in corpus.samples()})
    assert 20 < len(pairs) <= 128
    with scu.associated(node.port, [(sop_class, [syntax]) for sop_class, syntax in pairs]) as association:
        assert len(association.accepted_contexts) == len(pairs)
        for number, sample in enumerate(corpus.samples()):
            arguments = (sample.sop_class, sample.sop_instance, sample.transfer_syntax, sample.dataset)
            assert scu.store(association, *arguments, message_id=number + 1) == status_of(sample), sample.name
    kept = [sample for sample in corpus.samples() if not status_of(sample)]
    sent = {(sample.sop_instance, sample.transfer_syntax, sample.dataset) for sample in kept}
    assert node.received() == sent


def test_transfer_syntaxes_are_accepted_in_the_requestors_order(node):
    contexts = [(CT, [corpus.DEFLATED, corpus.IMPLICIT]), (CT, [corpus.IMPLICIT, corpus.EXPLICIT])]
    with scu.associated(node.port, contexts) as association:
        accepted = [context.transfer_syntax[0] for context in association.accepted_contexts]
    assert accepted == [corpus.DEFLATED, corpus.IMPLICIT]


def test_private_class_and_syntax_are_stored_as_they_are(node):
    dataset = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    with scu.associated(node.port, [(PRIVATE_CLASS, [PRIVATE_SYNTAX])]) as association:
        assert scu.store(association, PRIVATE_CLASS, "1.2.3.4", PRIVATE_SYNTAX, dataset) == 0x0000
    assert node.received() == {("1.2.3.4", PRIVATE_SYNTAX, dataset)}


def test_private_class_and_syntax_can_be_refused(start_node):
    node = start_node(
        associations__accept_unknown_sop_classes="false", associations__accept_unknown_transfer_syntaxes="false"
    )
    contexts = [(PRIVATE_CLASS, [corpus.EXPLICIT]), (CT, [PRIVATE_SYNTAX]), (CT, [corpus.EXPLICIT])]
    with scu.associated(node.port, contexts) as association:
        assert [context.context_id for context in association.accepted_contexts] == [5]
        rejected = {context.context_id: context.result for context in association.rejected_contexts}
        # Abstract syntax not supported, transfer syntaxes not supported (PS3.8 table 9-18).
        assert rejected == {1: 3, 3: 4}
        assert store_ct(association) == 0x0000


@pytest.mark.parametrize("max_pdu", [0, 32, 512, 16384, 2**32 - 1])
def test_whatever_the_requestor_takes(node, max_pdu):
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])], max_pdu=max_pdu) as association:
        assert store_ct(association) == 0x0000
        refused = scu.store_request(CT, "1.2.3", ct_small().dataset, 2)
        assert scu.exchange(association, refused, 1).Status == 0xA900, "an answer with an Error Comment"
    assert [file.dataset for file in node.stored()] == [ct_small().dataset]


@pytest.mark.parametrize("fragment_bytes", [2, 100, 4094, 1 << 16])
def test_whatever_fragments_a_requestor_makes(node, fragment_bytes):
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])]) as association:
        # Below what the node takes, so that pynetdicom cuts smaller.
        association.acceptor.primitive.maximum_length_received = fragment_bytes + 6
        assert association.dimse.maximum_pdu_size == fragment_bytes + 6
        assert store_ct(association) == 0x0000
    assert [file.dataset for file in node.stored()] == [ct_small().dataset]


@pytest.mark.parametrize("offered", ["4 KiB", "1 MiB"])
def test_the_node_offers_what_it_is_set_to(start_node, offered):
    node = start_node(associations__max_pdu_length=offered)
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])]) as association:
        assert association.acceptor.maximum_length == {"4 KiB": 4096, "1 MiB": 1 << 20}[offered]
        assert store_ct(association) == 0x0000


def test_asynchronous_operations_are_negotiated_and_answered_each(node):
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 4
    window.maximum_number_operations_performed = 1
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])], extended=[window]) as association:
        invoked, performed = association.acceptor.asynchronous_operations
        assert invoked == 4, "no more than was asked, no fewer than the node does"
        assert performed == 1
        variants = [variant(number) for number in range(10, 14)]
        requests = [
            scu.store_request(CT, sop_instance, dataset, message_id=number + 1)
            for number, (sop_instance, dataset) in enumerate(variants)
        ]
        answers = [answer for _, answer in scu.exchange_all(association, requests, 1)]
        assert sorted(answer.MessageIDBeingRespondedTo for answer in answers) == [1, 2, 3, 4]
        assert {answer.Status for answer in answers} == {0x0000}
    assert node.received() == {(sop_instance, corpus.EXPLICIT, dataset) for sop_instance, dataset in variants}


def test_asynchronous_operations_are_not_answered_unasked(node):
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])]) as association:
        items = association.acceptor.user_information
        assert not [item for item in items if isinstance(item, AsynchronousOperationsWindowNegotiation)]


@pytest.mark.parametrize("asked, answered", [((True, False), (True, False)), ((True, True), (True, False))])
def test_role_selection(node, asked, answered):
    role = build_role(CT, scu_role=asked[0], scp_role=asked[1])
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])], extended=[role]) as association:
        answer = association.acceptor.role_selection[CT]
        assert (answer.scu_role, answer.scp_role) == answered, "the node stores; it sends nothing"
        assert store_ct(association) == 0x0000


@pytest.mark.parametrize("kind", [1, 2, 4, 5])
@pytest.mark.parametrize("response", [False, True])
def test_user_identity(node, kind, response):
    identity = UserIdentityNegotiation()
    identity.user_identity_type = kind
    identity.primary_field = b"someone"
    identity.secondary_field = b"secret" if kind == 2 else b""
    identity.positive_response_requested = response
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])], extended=[identity]) as association:
        # A node without users has verified nobody, and confirms nobody (PS3.7 §D.3.3.7.2).
        items = association.acceptor.user_information
        assert not [item for item in items if isinstance(item, UserIdentityNegotiation)]
        assert store_ct(association) == 0x0000


def test_called_ae_title(start_node, node):
    with scu.associated(node.port, [(VERIFICATION, [corpus.IMPLICIT])], called="SOMEBODY_ELSE") as association:
        assert association.send_c_echo().Status == 0x0000
    strict = start_node(node__require_called_ae_title="true")
    answer = scu.rejected(strict.port, [(VERIFICATION, [corpus.IMPLICIT])], called="SOMEBODY_ELSE")
    # Rejected permanent, by the service user, called AE title not recognised (PS3.8 table 9-21).
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)
    with scu.associated(strict.port, [(VERIFICATION, [corpus.IMPLICIT])]) as association:
        assert association.send_c_echo().Status == 0x0000


def test_titles_stand_in_the_file_meta(start_node):
    node = start_node(node__ae_title="A NODE OF OURS")
    options = {"calling": "A CALLING AE", "called": "ANOTHER TITLE"}
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])], **options) as association:
        assert store_ct(association) == 0x0000
    (file,) = node.stored()
    check_stored(file, calling="A CALLING AE", receiving="A NODE OF OURS")


def test_associations_beyond_the_limit_are_refused_for_now(start_node):
    node = start_node(associations__max="2")
    contexts = [(CT, [corpus.EXPLICIT])]
    with scu.associated(node.port, contexts) as first, scu.associated(node.port, contexts) as second:
        answer = scu.rejected(node.port, contexts)
        # Rejected transient, by the service provider (presentation), local limit exceeded (PS3.8 table 9-21).
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        assert store_ct(first) == 0x0000
        assert store_ct(second) == 0x0000
    with scu.associated(node.port, contexts) as third:
        assert store_ct(third) == 0x0000


def test_many_associations_at_once(node):
    outcomes = {}

    def send(number):
        sop_instance, dataset = variant(100 + number)
        with scu.associated(node.port, [(CT, [corpus.EXPLICIT])]) as association:
            outcomes[number] = scu.store(association, CT, sop_instance, corpus.EXPLICIT, dataset)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {number: 0x0000 for number in range(24)}
    assert node.received() == {(uid, corpus.EXPLICIT, data) for uid, data in map(variant, range(100, 124))}
