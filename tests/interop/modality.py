"""A modality on pynetdicom that has its images committed (PS3.4 annex J): it asks by N-ACTION, and takes N-EVENT-REPORTs on the association
that asked and on a port of its own."""

import contextlib
import dataclasses
import io
import itertools
import queue
import threading
import time
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context

import peers
import scu

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST = 1
ALL_COMMITTED, SOME_FAILED = 1, 2
SUCCESS = 0x0000

numbers = itertools.count(1)


def transaction() -> str:
    """A Transaction UID that no test has used."""
    return f"1.2.826.0.1.3680043.10.1462.{time.time_ns()}.{next(numbers)}"


def action_information(uid: str | None, references, **more) -> Dataset:
    """What an N-ACTION says; `references` are pairs of SOP class and SOP instance, or None for no sequence at all."""
    information = Dataset()
    if uid is not None:
        information.TransactionUID = uid
    if references is not None:
        information.ReferencedSOPSequence = Sequence(map(_reference, references))
    for name, value in more.items():
        setattr(information, name, value)
    return information


def _reference(pair) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    return item


@dataclasses.dataclass
class Report:
    """An N-EVENT-REPORT as it came."""

    event_type: int
    transaction: str
    committed: set[tuple[str, str]]
    # SOP Instance UID: failure reason.
    failed: dict[str, int]
    retrieve_ae_title: str | None
    # Of the association it came on.
    calling: str
    called: str
    on_the_association_that_asked: bool
    at: float

    def __post_init__(self):
        assert self.event_type == (SOME_FAILED if self.failed else ALL_COMMITTED)
        assert self.committed or self.failed


def _report(event, is_requestor: bool) -> Report:
    assert event.request.AffectedSOPClassUID == PUSH_MODEL
    assert event.request.AffectedSOPInstanceUID == PUSH_MODEL_INSTANCE
    said = event.event_information
    good = said.get("ReferencedSOPSequence", [])
    bad = said.get("FailedSOPSequence", [])
    # PS3.4 table J.3-2: neither sequence is there without an item.
    assert "ReferencedSOPSequence" not in said or good
    assert "FailedSOPSequence" not in said or bad
    return Report(
        event.event_type,
        str(said.TransactionUID),
        {(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in good},
        {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in bad},
        str(said.RetrieveAETitle) if "RetrieveAETitle" in said else None,
        event.assoc.requestor.ae_title.strip(),
        event.assoc.acceptor.ae_title.strip(),
        is_requestor,
        time.monotonic(),
    )


# What a modality may do with a report: each is a function of the event that returns the status of the response.


def takes(_event) -> int:
    """As it should be."""
    return SUCCESS


def answers(status: int) -> Callable:
    """Responds with a status."""
    return lambda _event: status


def late(seconds: float) -> Callable:
    """Responds after so long."""

    def answer(_event) -> int:
        time.sleep(seconds)
        return SUCCESS

    return answer


def tersely(event) -> int:
    """Responds without Event Type ID and without UIDs, which PS3.7 table 10.3-2 leaves to the modality unless there is an Event Reply."""
    dimse = event.assoc.dimse
    send = dimse.send_msg

    def send_less(primitive, context_id):
        primitive.EventTypeID = primitive.AffectedSOPClassUID = primitive.AffectedSOPInstanceUID = None
        dimse.send_msg = send
        send(primitive, context_id)

    dimse.send_msg = send_less
    return SUCCESS


def aborts(event) -> int:
    """Ends the association instead of a response."""
    event.assoc.abort()
    return SUCCESS


class Modality:
    """`answer`, which a test may change at any time, decides what becomes of each report. Reports stand in `reports` when they come, answered or
    not."""

    def __init__(self, ae_title: str, syntax: str = ImplicitVRLittleEndian, answer: Callable = takes):
        self.ae_title, self.syntax, self.answer = ae_title, syntax, answer
        self.port = peers.free_port()
        self.reports: list[Report] = []
        # What came, in its order, as the names of messages.
        self.messages: list[str] = []
        self.associations = 0
        # Reports on associations of its own that are answered.
        self.answered = 0
        self.came = threading.Condition()
        self.server = None

    def listen(self, *, takes_the_role: bool = True, takes_calling: str | None = None) -> "Modality":
        """Listens for reports; with `takes_the_role` false as one that lets no requestor be SCP, and from any or only one calling AE title."""
        ae = AE(ae_title=self.ae_title)
        role = {"scu_role": False, "scp_role": True} if takes_the_role else {}
        ae.add_supported_context(PUSH_MODEL, [self.syntax], **role)
        if takes_calling is not None:
            ae.require_calling_aet = [takes_calling]
        handlers = [(evt.EVT_N_EVENT_REPORT, self._reported, [False]), (evt.EVT_REQUESTED, self._called)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def close(self) -> None:
        """Listens no more."""
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    def _called(self, _event) -> None:
        self.associations += 1

    def _reported(self, event, is_requestor: bool):
        with self.came:
            self.messages.append("N-EVENT-REPORT-RQ")
            self.reports.append(_report(event, is_requestor))
            self.came.notify_all()
        return self.answer(event), None

    def _sent(self, event) -> None:
        with self.came:
            if isinstance(event.message, N_EVENT_REPORT_RSP):
                self.answered += 1
            self.came.notify_all()

    def _settle(self) -> None:
        """Waits until each report on associations of its own is answered: pynetdicom cannot send a response behind its release request."""
        with self.came:
            own = lambda: sum(report.on_the_association_that_asked for report in self.reports)
            assert self.came.wait_for(lambda: self.answered >= own(), scu.ANSWER_LIMIT_S), "a report is not answered"
        # The event comes before the bytes.
        time.sleep(0.2)

    def of(self, uid: str) -> list[Report]:
        """The reports of a request."""
        return [report for report in self.reports if report.transaction == uid]

    def report(self, uid: str, *, number: int = 1, limit_s: float = 20) -> Report:
        """Waits for that many reports of a request, and returns the last."""
        with self.came:
            has_come = self.came.wait_for(lambda: len(self.of(uid)) >= number, limit_s)
        assert has_come, f"{self.ae_title}: {len(self.of(uid))} of {number} reports after {limit_s} s"
        return self.of(uid)[number - 1]

    @contextlib.contextmanager
    def associated(self, port: int, contexts=(), *, called: str = "TIDEGATE", offers_scp: bool = False):
        """An association to the node for storage commitment, and for `contexts` as in `scu`. It is not released at the end if it has ended.

        With `offers_scp` the modality says in so many words that it can be either; without, it is the SCU, and the node the SCP.
        """
        ae = AE(ae_title=self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = scu.ANSWER_LIMIT_S
        built = [build_context(PUSH_MODEL, [self.syntax])]
        built += [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in contexts]
        extended = [build_role(PUSH_MODEL, scu_role=True, scp_role=True)] if offers_scp else []
        handlers = [(evt.EVT_N_EVENT_REPORT, self._reported, [True]), (evt.EVT_DIMSE_SENT, self._sent)]
        association = ae.associate("127.0.0.1", port, built, called, ext_neg=extended, evt_handlers=handlers)
        assert association.is_established, f"no association: {association.acceptor.primitive}"
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        if association.is_established:
            self._settle()
            association.release()

    def ask(self, association, information: Dataset | bytes, *, action_type=REQUEST, sop_class=PUSH_MODEL, instance=PUSH_MODEL_INSTANCE):
        """Sends an N-ACTION-RQ whatever it says, waits for the response and returns its status.

        The association's own thread reads what comes, as in `scu.exchange_all`; reports are served meanwhile.
        """
        primitive = N_ACTION()
        primitive.MessageID = next(numbers) % 60000
        primitive.RequestedSOPClassUID, primitive.RequestedSOPInstanceUID = sop_class, instance
        primitive.ActionTypeID = action_type
        if isinstance(information, Dataset):
            information = encode(information, self.syntax == ImplicitVRLittleEndian, True)
        primitive.ActionInformation = io.BytesIO(information)
        context = scu.context_id(association, PUSH_MODEL, self.syntax)
        came = queue.SimpleQueue()
        serve = type(association)._serve_request.__get__(association)

        def take(message, context_id):
            if message.is_valid_response:
                self.messages.append("N-ACTION-RSP")
                came.put(message)
            else:
                serve(message, context_id)

        association._serve_request = take
        association.dimse.send_msg(primitive, context)
        response = came.get(timeout=scu.ANSWER_LIMIT_S)
        association._serve_request = serve
        assert isinstance(response, N_ACTION)
        assert response.MessageIDBeingRespondedTo == primitive.MessageID
        if response.Status == SUCCESS:
            assert response.ActionTypeID in (None, action_type)
        return response.Status

    def request(self, port: int, references, *, uid: str | None = None) -> str:
        """Asks over an association of its own, which ends with the response; the Transaction UID."""
        uid = uid or transaction()
        with self.associated(port) as association:
            assert self.ask(association, action_information(uid, references)) == SUCCESS
        return uid
