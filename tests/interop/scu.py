"""A C-STORE requestor on pynetdicom that sends a dataset's bytes as they are, whatever they are."""

import contextlib
import io
import queue
import time

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.presentation import build_context
from pydicom.uid import UID

CALLING = "PYNETDICOM"
ANSWER_LIMIT_S = 60


def request(port: int, contexts, *, called="TIDEGATE", calling=CALLING, max_pdu=16382, extended=()) -> Association:
    """Asks for an association, accepted or not; `contexts` are pairs of an abstract syntax and its transfer syntaxes."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_LIMIT_S
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
    ((answered, response),) = exchange_all(association, [primitive], context)
    assert response is not None, "no response"
    assert answered == context
    assert response.MessageIDBeingRespondedTo == primitive.MessageID
    if response.Status != 0x0000:
        assert response.ErrorComment, f"status {response.Status:04X} without an Error Comment"
        assert len(response.ErrorComment) <= 64
    return response


def exchange_all(association: Association, primitives, context: int) -> list:
    """Sends requests without waiting between them; the answers in the order they came, each with its context, or with None once the
    association has ended or ANSWER_LIMIT_S have passed without one.

    The association's own thread reads what comes. Whoever reads beside it may lose an answer to it, on a busy machine: it looks for a
    message once more after it was told to pause. So it hands over what it reads.
    """
    came = queue.SimpleQueue()
    serve = type(association)._serve_request

    def take(message, context_id):
        # What the node asks of the requestor is no answer.
        if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo is None:
            serve(association, message, context_id)
        else:
            came.put((context_id, message))

    association._serve_request = take
    for primitive in primitives:
        association.dimse.send_msg(primitive, context)
    return [_next(association, came) for _ in primitives]


def _next(association: Association, came: queue.SimpleQueue):
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while time.monotonic() < deadline:
        # Looked at first: what came before the end has been handed over by then.
        going_on = association.is_alive()
        try:
            return came.get(timeout=0.1 if going_on else 0)
        except queue.Empty:
            if not going_on:
                break
    return None, None


def store(association: Association, sop_class, sop_instance, transfer_syntax, dataset: bytes, message_id=1) -> int:
    """Stores one instance on the context for it and returns the status."""
    primitive = store_request(sop_class, sop_instance, dataset, message_id)
    return exchange(association, primitive, context_id(association, sop_class, transfer_syntax)).Status
