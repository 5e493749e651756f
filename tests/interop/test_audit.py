"""Audit messages as a syslog receiver reads them: RFC 5424 over a file, UDP, TCP and TLS, each held to the schema of PS3.15 A.5.1."""

import base64
import re
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pydicom
import pytest
from lxml import etree
from pynetdicom.sop_class import CTImageStorage

import corpus
import peers
import scu
from archive import Archive
from pki import Authority

HEADER = re.compile("^<85>1 \\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z \\S+ tidegate \\d+ DICOM\\+RFC3881 - \ufeff(<\\?xml.*)$", re.DOTALL)


SCHEMA = etree.RelaxNG(file=Path(__file__).with_name("audit_message.rng"))


def read(message: str) -> etree._Element:
    found = HEADER.match(message)
    assert found, message
    read = etree.fromstring(found[1].encode())
    SCHEMA.assertValid(read)
    return read


def kinds(messages) -> list[str]:
    """Code of each message's event, with that of its type if it has one."""
    told = []
    for message in messages:
        event = message.find("EventIdentification")
        type_code = event.find("EventTypeCode")
        code = event.find("EventID").get("csd-code")
        told.append(code if type_code is None else f"{code}/{type_code.get('csd-code')}")
    return told


def store_and_be_refused(node) -> None:
    sample = corpus.sample("test_files/CT_small.dcm")
    peers.run("storescu", "-aet", "CT1", "-aec", "TIDEGATE", "127.0.0.1", node.port, sample.path)


EXPECTED = ["110100/110120", "110114/110122", "110102", "110104", "110100/110121"]


def test_a_file_has_a_line_for_each_message(start_node, tmp_path):
    path = tmp_path / "audit.log"
    node = start_node(audit__sink=f"file:{path}")
    store_and_be_refused(node)
    node.stop()
    assert path.stat().st_mode & 0o777 == 0o640
    messages = [read(line) for line in path.read_text().splitlines()]
    assert kinds(messages) == EXPECTED
    login, transfer = messages[1], messages[3]
    assert login.find("ActiveParticipant").get("UserID") == "CT1"
    assert login.find("EventIdentification").get("EventOutcomeIndicator") == "0"
    objects = {entry.get("ParticipantObjectTypeCode"): entry for entry in transfer.findall("ParticipantObjectIdentification")}
    sample = corpus.sample("test_files/CT_small.dcm")
    assert objects["1"].get("ParticipantObjectID") == "1CT1"
    assert dict(objects["2"].find("ParticipantObjectDescription/SOPClass").attrib) == {"UID": CTImageStorage, "NumberOfInstances": "1"}
    source, destination = transfer.findall("ActiveParticipant")
    assert (source.get("UserID"), source.get("NetworkAccessPointID")) == ("CT1", "127.0.0.1")
    assert destination.get("UserID") == "TIDEGATE"
    assert "1CT1" not in node.log_path.read_text(), "patient data in the log"
    assert sample.sop_instance in str(node.files())


def test_replaced_instances_and_operators_have_messages_that_name_them(start_node, tmp_path):
    path = tmp_path / "audit.log"
    node = start_node(audit__sink=f"file:{path}", admin__listen="127.0.0.1:0")
    dataset = pydicom.dcmread(corpus.sample("test_files/CT_small.dcm").path)
    for description in ("a", "b"):
        dataset.SeriesDescription = description
        dataset.save_as(tmp_path / "instance.dcm")
        peers.run("storescu", "-aet", "CT1", "-aec", "TIDEGATE", "127.0.0.1", node.port, tmp_path / "instance.dcm")
    token = (node.root / ".tidegate/admin.token").read_text().strip()

    def change(method: str, route: str, shown: str, body: bytes | None = None) -> None:
        headers = {"Authorization": f"Bearer {shown}", "X-Tidegate": "1", "Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(node.url + route, body, headers, method=method)).read()

    with pytest.raises(urllib.error.HTTPError):
        change("POST", "/api/drain", "wrong")
    change("POST", "/api/drain", token)
    change("DELETE", "/api/drain", token)
    change("PUT", "/api/loglevel", token, b'{"level":"info"}')
    change("GET", "/debug/pprof/heap?seconds=1", token)
    change("GET", "/api/studies?text=M%C3%BCller", token)
    node.process.send_signal(signal.SIGHUP)
    for _ in range(6000):
        if "configuration reloaded" in path.read_text():
            break
        time.sleep(0.01)
    node.stop()
    messages = [read(line) for line in path.read_text().splitlines()]
    assert "110103" in kinds(messages)
    operators = [
        (kind, message.find("ActiveParticipant").get("UserID"), message.find("ActiveParticipant").get("NetworkAccessPointTypeCode"))
        for kind, message in zip(kinds(messages), messages, strict=True)
        if kind in ("110113/110132", "110113/110129")
    ]
    own = "the node's own token"
    assert operators == [
        ("110113/110132", own, "2"),
        ("110113/110132", own, "2"),
        ("110113/110129", own, "2"),
        ("110113/110132", own, "2"),
        ("110113/110129", "signal SIGHUP", "1"),
    ]
    [query] = [message for kind, message in zip(kinds(messages), messages, strict=True) if kind == "110112"]
    asked = query.find("ParticipantObjectIdentification/ParticipantObjectQuery").text
    assert base64.b64decode(asked).decode() == "text=Müller"
    assert query.find("ActiveParticipant").get("UserID") == own
    denied = [message for message in messages if "admin surface" in etree.tostring(message, encoding="unicode")]
    assert [message.find("EventIdentification").get("EventOutcomeIndicator") for message in denied] == ["8"]


class Receiver:
    """Collects what arrives on a stream, cut by its counted octets."""

    def __init__(self, context: ssl.SSLContext | None = None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context = context
        self.messages: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                self._take(stream)

    def _take(self, stream) -> None:
        length = b""
        while byte := stream.read(1):
            if byte == b" ":
                self.messages.append(stream.read(int(length)).decode())
                length = b""
            else:
                length += byte

    def wait_for(self, count: int) -> None:
        for _ in range(3000):
            if len(self.messages) >= count:
                return
            time.sleep(0.01)
        raise AssertionError(f"{count} messages awaited: {self.messages}")


@pytest.mark.parametrize("transport", ["tcp", "tls", "mutual tls"])
def test_a_stream_has_counted_messages(start_node, tmp_path, transport):
    settings, context = {}, None
    if transport != "tcp":
        authority = Authority(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.node)
        context.load_verify_locations(authority.certificate)
        settings["audit__ca"] = str(authority.certificate)
        if transport == "mutual tls":
            context.verify_mode = ssl.CERT_REQUIRED
            certificate, key = authority.sign("gateway", "/CN=gateway", "DNS:gateway")
            settings.update(audit__certificate=str(certificate), audit__key=str(key))
    receiver = Receiver(context)
    node = start_node(audit__sink=f"{transport.split()[-1]}://localhost:{receiver.port}", **settings)
    store_and_be_refused(node)
    node.stop()
    receiver.wait_for(len(EXPECTED))
    assert kinds(map(read, receiver.messages)) == EXPECTED


def test_udp_has_a_datagram_for_each(start_node):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(60)
        node = start_node(audit__sink=f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        store_and_be_refused(node)
        node.stop()
        assert kinds(read(receiver.recv(65536).decode()) for _ in EXPECTED) == EXPECTED


def test_who_is_not_let_in_is_told_and_a_receiver_that_is_down_stops_no_images(start_node, tmp_path):
    rules = tmp_path / "tidegate.toml"
    path = tmp_path / "missing" / "audit.log"
    rules.write_text(f'[audit]\nsink = "file:{path}"\n[[access]]\nname = "ct"\naction = "allow"\ncalling = ["CT*"]\n')
    node = start_node(configuration=rules)
    store_and_be_refused(node)
    assert scu.rejected(node.port, [(CTImageStorage, [corpus.EXPLICIT])], calling="MR\"<1").diagnostic == 3
    assert len(node.files()) == 1
    assert "audit message not written" in node.log_path.read_text()
    path.parent.mkdir()
    for _ in range(6000):
        if path.exists() and len(path.read_text().splitlines()) >= 5:
            break
        time.sleep(0.01)
    messages = [read(line) for line in path.read_text().splitlines()]
    assert "110113/110126" in kinds(messages)
    alert = messages[kinds(messages).index("110113/110126")]
    assert alert.find("ActiveParticipant").get("UserID") == 'MR"<1'
    assert alert.find("EventIdentification").get("EventOutcomeIndicator") == "8"


def test_a_delivery_is_an_export(start_node, tmp_path):
    """PS3.15 §A.5.3.3 and §A.5.3.7: one message at the begin, and one at the end, of each study on an association; this node is the source."""
    log, configuration = tmp_path / "audit.log", tmp_path / "gateway.toml"
    sample = corpus.sample("test_files/CT_small.dcm")
    dataset = pydicom.dcmread(sample.path)
    instances = []
    for number in range(1, 4):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.9.7.{number}"
        instances.append(tmp_path / f"{number}.dcm")
        dataset.save_as(instances[-1])
    archive = Archive("ARCHIVE", {"1.2.826.0.1.3680043.9.7.2": 0xC000}).listen()
    try:
        configuration.write_text(f'[delivery]\nto = ["archive"]\n{archive.table("archive")}')
        node = start_node(configuration, audit__sink=f"file:{log}")
        peers.run("storescu", "-aet", "CT1", "-aec", "TIDEGATE", "127.0.0.1", node.port, *instances)
        deadline = time.monotonic() + 30
        while len(archive.asked) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        node.stop()
    finally:
        archive.close()
    messages = [read(line) for line in log.read_text().splitlines()]
    exports = [
        (kind, message)
        for kind, message in zip(kinds(messages), messages, strict=True)
        if kind in ("110102", "110104") and message.find("ActiveParticipant").get("UserID") == "TIDEGATE"
    ]
    # There may have been two associations at one time.
    assert sorted(kind for kind, _ in exports) in (["110102", "110104"], ["110102", "110102", "110104", "110104"])
    taken = failed = 0
    for kind, message in exports:
        node_part, archive_part = message.findall("ActiveParticipant")
        assert (node_part.get("UserIsRequestor"), node_part.find("RoleIDCode").get("csd-code")) == ("true", "110153")
        assert (archive_part.get("UserID"), archive_part.get("NetworkAccessPointID")) == ("ARCHIVE", "127.0.0.1")
        assert (archive_part.get("UserIsRequestor"), archive_part.find("RoleIDCode").get("csd-code")) == ("false", "110152")
        objects = {entry.get("ParticipantObjectTypeCode"): entry for entry in message.findall("ParticipantObjectIdentification")}
        assert objects["1"].get("ParticipantObjectID") == "1CT1"
        assert objects["2"].get("ParticipantObjectID") == str(dataset.StudyInstanceUID)
        if kind == "110104":
            classes = objects["2"].findall("ParticipantObjectDescription/SOPClass")
            taken += sum(int(one.get("NumberOfInstances")) for one in classes)
            failed += message.find("EventIdentification").get("EventOutcomeIndicator") != "0"
    assert (taken, failed) == (2, 1)
