"""The same bytes to this node's upper layer and to pynetdicom's decoders, the corpus of the fuzz target `reassembly` and thousands of
mutations of it: both must accept or refuse the same, and read the same messages.

pynetdicom's decoders know PDUs and messages but no association, so what may come when is modelled here. Where the two differ on
purpose, for the reason given:

- P-DATA-TF that is yet to end: a node takes its PDVs as they come, pynetdicom waits; only whole PDUs are compared.
- A-RELEASE-RQ and A-ABORT of other than 4 bytes: pynetdicom takes some; their length is fixed (PS3.8 9.3.6, 9.3.8).
- PDUs longer than was offered: pynetdicom takes any, and so would hold what a peer announces (PS3.8 D.1).
- Command sets longer than 1 KiB: pynetdicom takes any.
- A PDV on a context that was not accepted, or of another context than the message under way: pynetdicom's decoder does not look.
- A command set that is not well formed: pydicom reads what it can of it; the comparison ends there.
"""

import io
import os
import random
import struct
import subprocess
from pathlib import Path

from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from wire import item, pdu

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
REPLAY = Path(os.environ["TIDEGATE_BIN"]).parent / "examples" / "replay"
MAX_PDU_LENGTH, MAX_COMMAND_SET = 4096, 1024
CONTEXTS = {1, 3, 5}
MUTATIONS = 200


def associate_rq() -> bytes:
    """A request for CT (1), Verification (3) and MR (5)."""
    uids = {1: b"1.2.840.10008.5.1.4.1.1.2", 3: b"1.2.840.10008.1.1", 5: b"1.2.840.10008.5.1.4.1.1.4"}
    contexts = b"".join(
        item(0x20, bytes([number, 0, 0, 0]) + item(0x30, uid) + item(0x40, b"1.2.840.10008.1.2.1")) for number, uid in uids.items()
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)))
    titles = b"TIDEGATE".ljust(16) + b"REPLAY".ljust(16)
    return pdu(1, struct.pack(">HH", 1, 0) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


class Unknown(Exception):
    """What comes now cannot be compared."""


class Violated(Exception):
    """The association is over."""


def command_set(encoded: bytes):
    """The command set, if pydicom would write it just so."""
    at = 0
    while at < len(encoded):
        if at + 8 > len(encoded) or encoded[at : at + 2] != b"\0\0":
            raise Unknown
        at += 8 + int.from_bytes(encoded[at + 4 : at + 8], "little")
    try:
        read = decode(io.BytesIO(encoded), True, True)
        written = encode(read, True, True)
    except Exception as error:
        raise Unknown from error
    if at != len(encoded) or written != encoded:
        raise Unknown
    return read


class Model:
    """An association over the PDVs that pynetdicom has read."""

    def __init__(self):
        self.understood: list[str] = []
        self.message, self.context, self.fragments = None, 0, b""
        self.request: str | None = None

    def pdv(self, context: int, value: bytes) -> None:
        control, fragment = value[0], value[1:]
        if context not in CONTEXTS or (self.message and context != self.context):
            raise Violated
        is_command, is_last = control & 1, control & 2
        if bool(is_command) != (self.request is None):
            raise Violated
        self.message, self.context = True, context
        self.fragments += fragment
        if is_command and len(self.fragments) > MAX_COMMAND_SET:
            raise Violated
        if is_last:
            whole, self.fragments = self.fragments, b""
            if is_command:
                self.command(whole)
            else:
                self.end(self.request + (f" {whole.hex()}" if self.request.startswith("store") else ""))

    def command(self, encoded: bytes) -> None:
        read = command_set(encoded)
        field, data_set_type = read.get("CommandField"), read.get("CommandDataSetType")
        if any(isinstance(each, list) for each in (field, data_set_type, read.get("MessageID"))) or not encoded:
            raise Unknown
        if field is None or data_set_type is None or field & 0x8000:
            raise Violated
        if field == 0x0FFF:
            if data_set_type != 0x0101:
                raise Unknown
            self.message = None
            return
        if "MessageID" not in read:
            raise Violated
        if field == 1:
            instance = next((encoded_value(encoded, each) for each in (0x1001, 0x1000) if encoded_value(encoded, each) is not None), b"")
            self.request = f"store {read.MessageID} {instance.hex()}"
        else:
            self.request = "echo" if field == 0x30 else f"refused {field}"
        if data_set_type == 0x0101:
            self.end(self.request)

    def end(self, understood: str) -> None:
        self.understood.append(understood.rstrip() if understood.startswith("store") else understood)
        self.message, self.request = None, None


def encoded_value(encoded: bytes, wanted: int) -> bytes | None:
    at, found = 0, None
    while at < len(encoded):
        number, length = struct.unpack_from("<2xHL", encoded, at)
        if number == wanted:
            found = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def by_pynetdicom(stream: bytes) -> tuple[list[str], str, int]:
    """What is understood of what comes after the request, how it ends, and how many bytes that takes."""
    model, at = Model(), 0
    try:
        while True:
            if at + 6 > len(stream):
                return model.understood, "open", at
            kind, length = struct.unpack_from(">BxL", stream, at)
            if kind != 4:
                if (kind, length) in ((5, 4), (7, 4)):
                    if at + 10 > len(stream):
                        return model.understood, "open", at
                    return model.understood, {5: "released", 7: "aborted"}[kind], at + 10
                raise Violated
            if length > MAX_PDU_LENGTH:
                raise Violated
            if at + 6 + length > len(stream):
                return model.understood, "open", at
            data = P_DATA_TF()
            try:
                data.decode(stream[at : at + 6 + length])
                values = data.to_primitive().presentation_data_value_list
                if sum(5 + len(value) for _, value in values) != length or any(not value for _, value in values):
                    raise ValueError("PDVs do not fill their PDU")
            except Exception as error:
                raise Violated from error
            at += 6 + length
            for context, value in values:
                model.pdv(context, value)
    except Violated:
        return model.understood, "violated", len(stream)
    except Unknown:
        return model.understood, "unknown", len(stream)


def by_us(streams: list[bytes]) -> list[tuple[list[str], str]]:
    sent = b"".join(struct.pack(">L", len(stream)) + stream for stream in streams)
    out = subprocess.run([REPLAY], input=sent, capture_output=True, check=True).stdout.decode().splitlines()
    assert len(out) == len(streams)
    return [([part.strip() for part in line.split("|")[:-1]], line.split("|")[-1].strip()) for line in out]


def mutated(choice: random.Random, seed: bytes) -> bytes:
    mutant = bytearray(seed)
    for _ in range(choice.randint(1, 3)):
        at = choice.randrange(len(mutant) + 1)
        match choice.randrange(4):
            case 0:
                mutant[at : at + 1] = bytes([choice.randrange(256)])
            case 1:
                mutant[at:at] = choice.randbytes(choice.randint(1, 4))
            case 2:
                del mutant[at : at + choice.randint(1, 8)]
            case 3:
                mutant += seed[: choice.randrange(len(seed) + 1)]
    return bytes(mutant)


def test_pynetdicom_reads_the_same_messages():
    seeds = [path.read_bytes()[1:] for path in sorted((CORPUS / "reassembly").iterdir())]
    assert len(seeds) > 20
    choice = random.Random(1)
    streams = seeds + [mutated(choice, seed) for seed in seeds for _ in range(MUTATIONS)]
    theirs = [by_pynetdicom(stream) for stream in streams]
    ours = by_us([associate_rq() + stream[:length] for stream, (_, _, length) in zip(streams, theirs)])
    compared = dict.fromkeys(("open", "released", "aborted", "violated", "unknown"), 0)
    for stream, (read, ending, _), (our_read, our_ending) in zip(streams, theirs, ours):
        compared[ending] += 1
        shown = f"{stream.hex()}: {read} {ending}, {our_read} {our_ending}"
        if ending == "unknown":
            assert our_read[: len(read)] == read, shown
            continue
        assert our_ending == ending, shown
        # Of a PDU that is refused, pynetdicom gives nothing; of a message under way, neither is whole.
        assert our_read[: len(read)] == read, shown
        assert len(our_read) <= len(read) + 1 or ending == "violated", shown
    assert all(count > 50 for count in compared.values()), compared


def test_pynetdicom_assembles_the_same_dataset():
    """pynetdicom's own assembly of messages, over what a sender may send: fragments of any size, several to a PDU."""
    stream = (CORPUS / "reassembly" / "two-stores-on-two-contexts").read_bytes()[1:]
    at, message, datasets = 0, DIMSEMessage(), []
    while struct.unpack_from(">B", stream, at)[0] == 4:
        length = struct.unpack_from(">L", stream, at + 2)[0]
        data = P_DATA_TF()
        data.decode(stream[at : at + 6 + length])
        if message.decode_msg(data.to_primitive()):
            datasets.append(message.data_set.getvalue())
            message = DIMSEMessage()
        at += 6 + length
    [(read, ending)] = by_us([associate_rq() + stream])
    assert ending == "released"
    assert [bytes.fromhex(each.split()[3]) for each in read] == datasets
