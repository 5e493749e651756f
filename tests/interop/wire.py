"""PDUs and messages byte by byte (PS3.7, PS3.8): what is sent is what a test says, right or wrong."""

import socket
import struct

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
MAX_PDU_LENGTH = 16384


def item(kind: int, value: bytes, *, longer: int = 0) -> bytes:
    """An item, or a sub-item, whose length says `longer` bytes more than it has."""
    return struct.pack(">BxH", kind, len(value) + longer) + value


def pdu(kind: int, value: bytes, *, longer: int = 0) -> bytes:
    """A PDU whose length says `longer` bytes more than it has."""
    return struct.pack(">BxL", kind, len(value) + longer) + value


def context(number: int, abstract_syntax: bytes, *transfer_syntaxes: bytes) -> bytes:
    """A presentation context item of a request."""
    syntaxes = b"".join(item(0x40, uid) for uid in transfer_syntaxes)
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract_syntax) + syntaxes)


def user_information(*more: bytes) -> bytes:
    """The user information item of a request, with sub-items behind those that it has to have."""
    return item(0x50, item(0x51, struct.pack(">L", MAX_PDU_LENGTH)) + item(0x52, b"1.2.3") + item(0x55, b"BYTES") + b"".join(more))


def associate_rq(*items: bytes, called: bytes = b"TIDEGATE", calling: bytes = b"BYTES", version: int = 1, longer: int = 0) -> bytes:
    """A request of these items, in this order."""
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    return pdu(1, struct.pack(">HH", version, 0) + titles + bytes(32) + b"".join(items), longer=longer)


def command_element(number: int, value: bytes) -> bytes:
    """An element of group 0000."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def command_set(*elements: bytes, longer: int = 0) -> bytes:
    """A command set behind its group length, which says `longer` bytes more than it has."""
    body = b"".join(elements)
    return command_element(0, struct.pack("<L", len(body) + longer)) + body


def unsigned_short(number: int) -> bytes:
    return struct.pack("<H", number)


def store_elements(sop_class: bytes, sop_instance: bytes, message_id: int = 1) -> list[bytes]:
    """The elements of a C-STORE-RQ with a dataset."""
    us = unsigned_short
    values = [(0x0002, sop_class), (0x0100, us(1)), (0x0110, us(message_id)), (0x0700, us(0)), (0x0800, us(0)), (0x1000, sop_instance)]
    return [command_element(*each) for each in values]


def pdv(number: int, control: int, fragment: bytes) -> bytes:
    """A PDV of a context; bit 0 of `control` says command, bit 1 last."""
    return struct.pack(">LBB", len(fragment) + 2, number, control) + fragment


def read_pdu(peer: socket.socket) -> tuple[int, bytes]:
    """Type and value of the next PDU."""

    def read(count: int) -> bytes:
        read = b""
        while len(read) < count:
            part = peer.recv(count - len(read))
            if not part:
                raise ConnectionError("the connection ended")
            read += part
        return read

    kind, length = struct.unpack(">BxL", read(6))
    return kind, read(length)
