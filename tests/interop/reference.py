"""A receiver of another implementation, which shows what a sender really sends."""

import socket
import ssl
import threading

from pynetdicom import AE, evt
from pynetdicom.presentation import build_context


class ReferenceReceiver:
    """A pynetdicom acceptor that takes every context in the requestor's order and keeps each dataset's bytes."""

    ae_title = "REFERENCE"

    def __init__(self, ssl_context: ssl.SSLContext | None = None):
        ae = AE(ae_title=self.ae_title)
        ae.maximum_associations = 100
        self._lock = threading.Lock()
        self._received = set()
        handlers = [
            (evt.EVT_CONN_OPEN, _answer_at_once),
            (evt.EVT_REQUESTED, _support_what_is_proposed),
            (evt.EVT_C_STORE, self._keep),
        ]
        contexts = [build_context("1.2.840.10008.1.1")]
        self._server = ae.start_server(
            ("127.0.0.1", 0), block=False, contexts=contexts, evt_handlers=handlers, ssl_context=ssl_context
        )
        self.port = self._server.server_address[1]

    def _keep(self, event) -> int:
        request = event.request
        transfer_syntax = str(event.context.transfer_syntax)
        instance = (str(request.AffectedSOPInstanceUID), transfer_syntax, request.DataSet.getvalue())
        with self._lock:
            self._received.add(instance)
        return 0x0000

    def received(self) -> set[tuple[str, str, bytes]]:
        """SOP Instance UID, transfer syntax and dataset of each instance."""
        with self._lock:
            return set(self._received)

    def stop(self) -> None:
        self._server.shutdown()


def _answer_at_once(event) -> None:
    # Or each answer waits 40 ms for the sender's delayed acknowledgement.
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _support_what_is_proposed(event) -> None:
    proposed = {}
    for context in event.assoc.requestor.primitive.presentation_context_definition_list:
        syntaxes = proposed.setdefault(context.abstract_syntax, [])
        syntaxes += [syntax for syntax in context.transfer_syntax if syntax not in syntaxes]
    # pynetdicom goes by the acceptor's order.
    event.assoc.acceptor.supported_contexts = [build_context(uid, syntaxes) for uid, syntaxes in proposed.items()]
