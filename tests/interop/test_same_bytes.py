"""The same bytes to this node and to pynetdicom, cut into PDVs, PDUs and TCP segments at random: both must store the same datasets."""

import random
import socket
import struct

import pytest
import wire
from checks import check_same

CT = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = b"1.2.840.10008.1.2.1"
ROUNDS = 40


def request(called: str) -> bytes:
    contexts = wire.item(0x10, wire.APPLICATION_CONTEXT) + wire.context(1, CT, EXPLICIT)
    return wire.associate_rq(contexts, wire.user_information(), called=called.encode())


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
        cut.append(wire.pdv(1, control | (0 if value else 2), piece))
    return cut


def message(choice: random.Random, message_id: int, sop_instance: bytes) -> bytes:
    """A C-STORE-RQ, several PDVs to a PDU, those of command and dataset among each other or not."""
    parts = pdvs(choice, 1, wire.command_set(*wire.store_elements(CT, sop_instance, message_id))) + pdvs(choice, 0, dataset(choice, sop_instance))
    whole, value = b"", b""
    for part in parts:
        if value and (len(value) + len(part) > 16_000 or choice.random() < 0.3):
            whole, value = whole + wire.pdu(4, value), b""
        value += part
    return whole + wire.pdu(4, value)


def send(choice: random.Random, receiver, messages: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(request(receiver.ae_title))
        assert wire.read_pdu(peer)[0] == 2
        for whole in messages:
            while whole:
                cut = choice.choice([1, 100, 5000, 100_000])
                peer.sendall(whole[:cut])
                whole = whole[cut:]
            kind, response = wire.read_pdu(peer)
            assert kind == 4 and struct.pack("<HHLH", 0, 0x0900, 2, 0) in response, response
        peer.sendall(wire.pdu(5, bytes(4)))
        assert wire.read_pdu(peer)[0] == 6


@pytest.mark.parametrize("seed", range(4))
def test_the_same_bytes_mean_the_same(node, reference, seed):
    choice = random.Random(seed)
    messages = [message(choice, number + 1, b"1.2.3.600.%d.%d" % (seed, number)) for number in range(ROUNDS // 4)]
    for receiver in (node, reference):
        send(random.Random(seed), receiver, messages)
    check_same(node, reference)
    assert len(node.received()) == len(messages)
