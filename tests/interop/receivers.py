"""Receivers that are sent the same bytes: what each answers, and which file it keeps."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import peers
import pydicom
import wire
from malformed_datasets import Case
from node import Node
from pydicom.encaps import generate_fragments

# The node has to answer. A peer that awaits more of a case than there is gives no answer.
NODE_LIMIT_S, PEER_LIMIT_S = 60, 3
SUCCESS = {0x0000, 0xB000, 0xB006, 0xB007}


@dataclass(frozen=True)
class Outcome:
    """What a receiver made of a case."""

    answer: str
    # What was stored for it, in the order of their names. An acknowledged resend of what is stored adds none.
    files: tuple[Path, ...] = ()

    @property
    def is_acknowledged(self) -> bool:
        return self.answer.startswith("stored")


class Receiver:
    """A receiver, by its port and the directory it stores in."""

    def __init__(self, port: int, directory: Path, limit_s: int = PEER_LIMIT_S):
        self.port, self.directory, self.limit_s = port, directory, limit_s
        self.seen: set[Path] = set()

    def _new_files(self) -> tuple[Path, ...]:
        found = {Path(top, name) for top, _, names in os.walk(self.directory) if ".tidegate" not in top for name in names}
        new = {path for path in found - self.seen if _is_part10(path)}
        self.seen = found
        return tuple(sorted(new))

    def take(self, case: Case) -> Outcome:
        """Sends a case over an association of its own."""
        answer = exchange(self.port, case, self.limit_s)
        return Outcome(answer, self._new_files())


def take_all(start, count: int, directory: Path, cases: list[Case]) -> list[Outcome]:
    """The outcome of each case, shared out among so many receivers of a kind: some of them wait long for what does not come."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start(directory / f"{start.__name__}-{number}")) for number in range(count)]
        with ThreadPoolExecutor(count) as pool:
            shares = list(pool.map(lambda number: [started[number].take(case) for case in cases[number::count]], range(count)))
    return [shares[at % count][at // count] for at in range(len(cases))]


def _is_part10(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except FileNotFoundError:
        return False  # replaced meanwhile


def exchange(port: int, case: Case, limit_s: int) -> str:
    """The answer to the case, in words."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=limit_s)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return _exchange(peer, case)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "connection ended"


def _exchange(peer: socket.socket, case: Case) -> str:
    syntax, sop_class = case.transfer_syntax.encode(), case.sop_class.encode()
    usual = wire.associate_rq(wire.item(0x10, wire.APPLICATION_CONTEXT), wire.context(1, sop_class, syntax), wire.user_information())
    peer.sendall(case.request or usual)
    kind, value = wire.read_pdu(peer)
    if kind != 2:
        return _ended(kind, value)
    result = _results(value).get(case.context)
    if result != 0:
        return f"context refused ({result})"
    command = case.command or wire.command_set(*wire.store_elements(sop_class, case.sop_instance))
    message = wire.pdu(4, wire.pdv(case.context, 3, command))
    whole = case.dataset
    while whole or message:
        fragment, whole = whole[: wire.MAX_PDU_LENGTH - 6], whole[wire.MAX_PDU_LENGTH - 6 :]
        peer.sendall(message + wire.pdu(4, wire.pdv(case.context, 0 if whole else 2, fragment)))
        message = b""
    kind, value = wire.read_pdu(peer)
    if kind != 4:
        return _ended(kind, value)
    status = _status(value)
    peer.sendall(wire.pdu(5, bytes(4)))
    with contextlib.suppress(OSError):
        wire.read_pdu(peer)
    return f"stored {status:04X}" if status in SUCCESS else f"refused {status:04X}"


def _ended(kind: int, value: bytes) -> str:
    return {3: "rejected", 7: "aborted"}.get(kind, f"PDU {kind}") + " " + ".".join(map(str, value[1:4]))


def _results(answer: bytes) -> dict[int, int]:
    """The results of an A-ASSOCIATE-AC by context."""
    results, at = {}, 68
    while at + 4 <= len(answer):
        kind, length = struct.unpack_from(">BxH", answer, at)
        if kind == 0x21:
            results[answer[at + 4]] = answer[at + 6]
        at += 4 + length
    return results


def _status(data: bytes) -> int:
    at = 6
    while at + 8 <= len(data):
        number, length = struct.unpack_from("<2xHL", data, at)
        if number == 0x0900:
            return struct.unpack_from("<H", data, at + 8)[0]
        at += 8 + length
    raise AssertionError(f"a response without a status: {data.hex()}")


@contextlib.contextmanager
def tidegate(directory: Path):
    directory.mkdir()
    node = Node(directory)
    try:
        yield Receiver(node.port, node.root, NODE_LIMIT_S)
    finally:
        node.stop()


@contextlib.contextmanager
def storescp(directory: Path):
    """DCMTK's, in its normal mode: it parses what it takes and writes it again."""
    directory.mkdir()
    port = peers.free_port()
    options = ["-dhl", "--accept-all", "--promiscuous", "--unique-filenames", "-ta", "1", "-ts", "1", "-td", "1"]
    with directory.with_suffix(".log").open("wb") as log:
        command = [dcmtk("storescp"), *options, "-od", str(directory), str(port)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        peers.wait_for_port(process, port)
        yield Receiver(port, directory)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def orthanc(directory: Path):
    directory.mkdir()
    port = peers.free_port()
    server = peers.Orthanc(
        directory,
        {},
        DicomServerEnabled=True,
        DicomPort=port,
        DicomAlwaysAllowStore=True,
        DicomCheckCalledAet=False,
        DicomScpTimeout=1,
        UnknownSopClassAccepted=True,
        OverwriteInstances=True,
        StorageCompression=False,
    )
    try:
        yield Receiver(port, server.directory / "storage")
    finally:
        server.stop()


def dcmtk(name: str) -> str:
    """A program of DCMTK's: pynetdicom's wheel brings others of the same names."""
    path = Path("/usr/bin", name)
    return str(path) if path.exists() else peers.program(name)


def read_by_pydicom(path: Path) -> frozenset[int] | None:
    """The tags of the dataset itself, if pydicom reads every element, and finds the fragments of encapsulated pixel data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pydicom.dcmread(path)
            for element in read.iterall():
                _ = element.value
            syntax = read.file_meta.TransferSyntaxUID
            if "PixelData" in read and not syntax.is_private and syntax.is_encapsulated:
                list(generate_fragments(read.PixelData))
    except Exception:
        return None
    return frozenset(int(tag) for tag in read.keys())


DUMPED = re.compile(rb"^\(([0-9a-f]{4}),([0-9a-f]{4})\)", re.MULTILINE)


def read_by_dcmdump(path: Path) -> frozenset[int] | None:
    """The tags of the dataset itself, if dcmdump reads to the end."""
    done = subprocess.run([dcmtk("dcmdump"), "--quiet", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        return None
    _, _, dataset = done.stdout.partition(b"# Dicom-Data-Set")
    return frozenset(int(group + element, 16) for group, element in DUMPED.findall(dataset))
