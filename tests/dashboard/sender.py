"""A C-STORE requestor on a bare socket: it sends at the pace, and under the name, that a test wants."""

import socket
import struct
import threading

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _request(calling: str) -> bytes:
    context = _item(0x20, bytes([1, 0, 0, 0]) + _item(0x30, CT.encode()) + _item(0x40, EXPLICIT.encode()))
    user = _item(0x50, _item(0x51, struct.pack(">I", 1 << 17)) + _item(0x52, b"1.2.3.4"))
    body = struct.pack(">HH16s16s32x", 1, 0, b"TIDEGATE".ljust(16), calling.encode("latin-1").ljust(16)[:16])
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BBI", 1, 0, len(body)) + body


def _element(group: int, element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", group, element, len(value)) + value


def _command(uid: str, message: int) -> bytes:
    body = _element(0, 2, CT.encode()) + _element(0, 0x100, b"\1\0") + _element(0, 0x110, struct.pack("<H", message))
    body += _element(0, 0x700, b"\0\0") + _element(0, 0x800, b"\0\0") + _element(0, 0x1000, uid.encode())
    return _element(0, 0, struct.pack("<I", len(body))) + body


def _explicit(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def dataset(uid: str, pixels: int) -> bytes:
    """A CT instance with so many bytes of pixels."""
    head = _explicit(8, 0x16, b"UI", CT.encode()) + _explicit(8, 0x18, b"UI", uid.encode())
    head += _explicit(0x10, 0x10, b"PN", b"Dash^Board") + _explicit(0x20, 0xD, b"UI", b"1.2.3")
    head += _explicit(0x20, 0xE, b"UI", b"1.2.3.4") + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, pixels)
    return head + bytes(pixels)


def _pdv(control: int, data: bytes) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, 1, control) + data


class Sender:
    """An association under this calling AE title."""

    def __init__(self, port: int, calling: str):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(_request(calling))
        self.accepted = self._pdu()[0] == 2

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the node has closed")
            data += part
        return data

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def begin(self, uid: str, pixels: int, part: int) -> bytes:
        """Sends the command and the first bytes; gives back the rest."""
        data = dataset(uid, pixels)
        self.socket.sendall(_pdv(3, _command(uid, 1)) + b"".join(_pdv(0, data[i : min(i + 100_000, part)]) for i in range(0, part, 100_000)))
        return data[part:]

    def store(self, uid: str, pixels: int, *, named: str | None = None) -> int:
        """Stores an instance, in the command under another UID if `named`; the status."""
        data = dataset(uid, pixels)
        parts = [data[i : i + 100_000] for i in range(0, len(data), 100_000)]
        self.socket.sendall(_pdv(3, _command(named or uid, 1)))
        for number, part in enumerate(parts, 1):
            self.socket.sendall(_pdv(2 if number == len(parts) else 0, part))
        kind, body = self._pdu()
        if kind != 4:
            raise ConnectionError(f"PDU {kind} in place of a response")
        at = body.index(struct.pack("<HHI", 0, 0x900, 2))
        return struct.unpack("<H", body[at + 8 : at + 10])[0]

    def close(self) -> None:
        self.socket.close()


class Load:
    """Associations that store one instance after the other until it is stopped."""

    def __init__(self, port: int, senders: dict[str, int], pause_s: float = 0.0):
        self.stopping = threading.Event()
        self.stored = 0
        self.threads = [
            threading.Thread(target=self._send, args=(port, name, pixels, index, pause_s), daemon=True)
            for index, (name, pixels) in enumerate(senders.items())
        ]
        for thread in self.threads:
            thread.start()

    def _send(self, port: int, name: str, pixels: int, index: int, pause_s: float) -> None:
        try:
            sender = Sender(port, name)
            number = 0
            while not self.stopping.wait(pause_s):
                number += 1
                sender.store(f"1.2.9.{index}.{number}", pixels)
                self.stored += 1
            sender.close()
        except OSError:
            pass  # the node may abort it: some tests have it do that

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=60)
