"""A C-STORE requestor on pynetdicom that sends a dataset's bytes as they are, whatever they are."""

import contextlib
import io

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pydicom.uid import UID

CALLING = "PYNETDICOM"


def request(port: int, contexts, *, called="TIDEGATE", calling=CALLING, max_pdu=16382, extended=()) -> Association:
    """Asks for an association, accepted or not; `contexts` are pairs of an abstract syntax and its transfer syntaxes."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    built = [build_context(abstract_syntax, list(syntaxes)) for abstract_syntax, syntaxes in contexts]
    return ae.associate("127.0.0.1", port, built, called, max_pdu=max_pdu, ext_neg=list(extended))


def rejected(port: int, contexts, **options):
    """The answer to a request that is rejected, as a primitive.

    pynetdicom now and then ends its own reader before it has looked at the rejection it read, and takes the association for
    aborted without an answer (one in twenty on a busy machine, whoever rejects). Then it is asked again; accepted it never is.
    """
    for _ in range(10):
        association = request(port, contexts, **options)
        assert not association.is_established, "accepted"
        if association.is_rejected:
            return association.acceptor.primitive
        assert association.acceptor.primitive is None, f"not rejected: {association.acceptor.primitive}"
    raise AssertionError("ten times no answer")


@contextlib.contextmanager
def associated(port: int, contexts, **options):
    """An established association, released at the end."""
    association = request(port, contexts, **options)
    assert association.is_established, f"no association: {association.acceptor.primitive}"
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    assert association.is_established, "the association ended early"
    association.release()
    assert association.is_released, "the release was not answered"


def context_id(association: Association, abstract_syntax: str, transfer_syntax: str) -> int:
    """The accepted presentation context of these two."""
    for context in association.accepted_contexts:
        if (context.abstract_syntax, context.transfer_syntax[0]) == (abstract_syntax, transfer_syntax):
            return context.context_id
    raise AssertionError(f"{abstract_syntax} in {transfer_syntax} was not accepted")


def store_request(sop_class: str, sop_instance: str, dataset: bytes, message_id: int = 1) -> C_STORE:
    """A C-STORE-RQ; neither UIDs nor dataset are looked at."""
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.Priority = 2
    primitive.AffectedSOPClassUID = sop_class
    # Set past the setter, which refuses what these tests have to send.
    primitive._affected_sop_instance_uid = UID(sop_instance, validation_mode=0)
    primitive.DataSet = io.BytesIO(dataset)
    return primitive


def exchange(association: Association, primitive, context: int):
    """Sends one request and waits for its response."""
    association._reactor_checkpoint.clear()
    try:
        association.dimse.send_msg(primitive, context)
        answered, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    assert response is not None, "no response"
    assert answered == context
    assert response.MessageIDBeingRespondedTo == primitive.MessageID
    if response.Status != 0x0000:
        assert response.ErrorComment, f"status {response.Status:04X} without an Error Comment"
        assert len(response.ErrorComment) <= 64
    return response


def store(association: Association, sop_class, sop_instance, transfer_syntax, dataset: bytes, message_id=1) -> int:
    """Stores one instance on the context for it and returns the status."""
    primitive = store_request(sop_class, sop_instance, dataset, message_id)
    return exchange(association, primitive, context_id(association, sop_class, transfer_syntax)).Status
