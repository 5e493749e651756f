"""The same bytes to this node and to pynetdicom, cut into PDVs, PDUs and TCP segments at random: both must store the same datasets."""

import random
import socket
import struct

import pytest
from checks import check_same

CT = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = b"1.2.840.10008.1.2.1"
ROUNDS = 40


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(value)) + value


def associate_rq(called: str) -> bytes:
    titles = called.encode().ljust(16) + b"BYTES".ljust(16)
    context = item(0x20, bytes([1, 0, 0, 0]) + item(0x30, CT) + item(0x40, EXPLICIT))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + item(0x55, b"BYTES"))
    return pdu(1, struct.pack(">HH", 1, 0) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


def command(message_id: int, sop_instance: bytes) -> bytes:
    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHL", 0, number, len(value)) + value

    us = lambda number: struct.pack("<H", number)
    elements = [(0x0002, CT), (0x0100, us(1)), (0x0110, us(message_id)), (0x0700, us(0)), (0x0800, us(0))]
    body = b"".join(element(*each) for each in [*elements, (0x1000, sop_instance)])
    return element(0, struct.pack("<L", len(body))) + body


def dataset(choice: random.Random, sop_instance: bytes) -> bytes:
    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    head = [(8, 0x16, b"UI", CT), (8, 0x18, b"UI", sop_instance), (0x20, 0xD, b"UI", b"1.2.3"), (0x20, 0xE, b"UI", b"1.2.3.4")]
    pixels = choice.randbytes(2 * choice.choice([0, 1, 10, 500, 20_000]))
    return b"".join(element(*each) for each in head) + struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", len(pixels)) + pixels


def pdvs(choice: random.Random, control: int, value: bytes) -> list[bytes]:
    """Cut anywhere; a dataset's pieces are now and then a single byte."""
    longest = choice.choice([1, 7, 200, 8000]) if len(value) < 3000 else choice.choice([200, 8000])
    cut = []
    while value or not cut:
        piece = value[: choice.randint(1, longest)]
        value = value[len(piece) :]
        cut.append(struct.pack(">LBB", len(piece) + 2, 1, control | (0 if value else 2)) + piece)
    return cut


def message(choice: random.Random, message_id: int, sop_instance: bytes) -> bytes:
    """A C-STORE-RQ, several PDVs to a PDU, those of command and dataset among each other or not."""
    parts = pdvs(choice, 1, command(message_id, sop_instance)) + pdvs(choice, 0, dataset(choice, sop_instance))
    whole, value = b"", b""
    for part in parts:
        if value and (len(value) + len(part) > 16_000 or choice.random() < 0.3):
            whole, value = whole + pdu(4, value), b""
        value += part
    return whole + pdu(4, value)


def read_pdu(peer: socket.socket) -> tuple[int, bytes]:
    def read(count: int) -> bytes:
        read = b""
        while len(read) < count:
            part = peer.recv(count - len(read))
            assert part, "the connection ended"
            read += part
        return read

    kind, length = struct.unpack(">BxL", read(6))
    return kind, read(length)


def send(choice: random.Random, receiver, messages: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(associate_rq(receiver.ae_title))
        assert read_pdu(peer)[0] == 2
        for whole in messages:
            while whole:
                cut = choice.choice([1, 100, 5000, 100_000])
                peer.sendall(whole[:cut])
                whole = whole[cut:]
            kind, response = read_pdu(peer)
            assert kind == 4 and struct.pack("<HHLH", 0, 0x0900, 2, 0) in response, response
        peer.sendall(pdu(5, bytes(4)))
        assert read_pdu(peer)[0] == 6


@pytest.mark.parametrize("seed", range(4))
def test_the_same_bytes_mean_the_same(node, reference, seed):
    choice = random.Random(seed)
    messages = [message(choice, number + 1, b"1.2.3.600.%d.%d" % (seed, number)) for number in range(ROUNDS // 4)]
    for receiver in (node, reference):
        send(random.Random(seed), receiver, messages)
    check_same(node, reference)
    assert len(node.received()) == len(messages)
