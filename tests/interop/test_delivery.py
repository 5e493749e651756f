"""Delivery to archives of other makes: what they get is what the node has stored, byte for byte or in another native transfer syntax."""

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

import corpus
import peers
from checks import check_same
from reference import ReferenceReceiver

LIMIT_S = 60


def gateway(start_node, directory: Path, port: int, called: str, more: str = "", attempts: int = 1, **settings: str):
    """A node that delivers everything to one archive."""
    configuration = directory / "gateway.toml"
    configuration.write_text(
        f'[delivery]\nto = ["archive"]\n[[destination]]\nname = "archive"\nkind = "dicom"\naddress = "127.0.0.1:{port}"\n'
        f'called = "{called}"\nattempts = {attempts}\n{more}\n'
    )
    return start_node(configuration, storage__duplicates="keep-both", **settings)


def send(node, samples) -> None:
    """Sends the files of samples as they are."""
    paths = [sample.path for sample in samples]
    peers.run("dcmsend", "--no-halt", "--no-illegal-proposal", "-aec", node.ae_title, "127.0.0.1", node.port, *paths, expect=None)
    assert node.files(), "nothing was stored"


def owed(node) -> set[str]:
    """What the archives of these tests take: DCMTK and Orthanc have no color palettes, the well-known instances of PS3.6 table A-4."""
    return {instance for instance, _, _ in node.received() if not instance.startswith("1.2.840.10008.1.5.")}


def eventually(has_come, limit_s: float = LIMIT_S) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if has_come():
            return True
        time.sleep(0.05)
    return has_come()


@contextmanager
def storescp(directory: Path, *options: str, port: int | None = None):
    """DCMTK's receiver, which keeps each dataset as it came."""
    directory.mkdir()
    port = port or peers.free_port()
    process = subprocess.Popen(
        ["storescp", "--bit-preserving", "--filename-extension", ".dcm", "--output-directory", str(directory), *options, str(port)]
    )
    try:
        peers.wait_for_port(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def test_each_instance_arrives_as_it_is_stored(start_node, reference, tmp_path):
    node = gateway(start_node, tmp_path, reference.port, reference.ae_title, "connections = 3")
    send(node, corpus.samples())
    assert eventually(lambda: len(reference.received()) >= len(node.received()))
    check_same(node, reference)


@pytest.mark.parametrize("options", [["--max-pdu", "4096"], ["--max-pdu", "131072"], ["--prefer-little"]])
def test_storescp_keeps_what_was_stored(start_node, tmp_path, options):
    with storescp(tmp_path / "archive", *options) as port:
        node = gateway(start_node, tmp_path, port, "ARCHIVE")
        send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED))
        uids = owed(node)
        archived = lambda: {str(read.SOPInstanceUID) for read in map(pydicom.dcmread, (tmp_path / "archive").glob("*.dcm"))}
        assert eventually(lambda: len(list((tmp_path / "archive").glob("*.dcm"))) >= len(uids))
        assert eventually(lambda: archived() >= uids), f"missing: {uids - archived()}"


OVER_TLS = "tls = true\nconnections = 3"


@pytest.mark.parametrize("profile", ["+py", "+pz"])
def test_storescp_has_each_instance_over_tls(start_node, authority, tmp_path, profile):
    files = [authority.directory / "peer.key", authority.directory / "peer.pem"]
    options = ["+tls", *map(str, files), "+cf", str(authority.certificate), "--require-peer-cert", profile]
    with storescp(tmp_path / "archive", *options) as port:
        node = gateway(start_node, tmp_path, port, "ARCHIVE", "tls = true", **authority.settings())
        send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED))
        uids = owed(node)
        archived = lambda: {str(read.SOPInstanceUID) for read in map(pydicom.dcmread, (tmp_path / "archive").glob("*.dcm"))}
        assert eventually(lambda: len(list((tmp_path / "archive").glob("*.dcm"))) >= len(uids))
        assert eventually(lambda: archived() >= uids), f"missing: {uids - archived()}"


def test_each_instance_arrives_as_it_is_stored_over_tls(start_node, authority, tmp_path):
    archive = ReferenceReceiver(ssl_context=authority.server_context("peer"))
    try:
        node = gateway(start_node, tmp_path, archive.port, archive.ae_title, OVER_TLS, **authority.settings())
        send(node, corpus.samples())
        assert eventually(lambda: len(archive.received()) >= len(node.received()))
        check_same(node, archive)
    finally:
        archive.stop()


def test_orthanc_has_each_instance_over_tls(start_node, authority, tmp_path):
    port = peers.free_port()
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False}
    server = peers.Orthanc(tmp_path, {}, **settings, **authority.orthanc_settings("peer"))
    try:
        node = gateway(start_node, tmp_path, port, "ORTHANC", OVER_TLS, **authority.settings())
        send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:50])
        uids = owed(node)
        assert eventually(lambda: server.get("/statistics")["CountInstances"] >= len(uids))
    finally:
        server.stop()


def test_an_archive_that_takes_implicit_vr_only_gets_that(start_node, tmp_path):
    with storescp(tmp_path / "archive", "--implicit") as port:
        node = gateway(start_node, tmp_path, port, "ARCHIVE")
        peers.run("storescu", "--propose-little", "-aec", node.ae_title, "127.0.0.1", node.port, corpus.sample("test_files/CT_small.dcm").path)
        assert eventually(lambda: list((tmp_path / "archive").glob("*.dcm")))
        [stored] = node.stored()
        time.sleep(0.5)  # until it is whole
        [archived] = (tmp_path / "archive").glob("*.dcm")
        ours, theirs = pydicom.dcmread(stored.path), pydicom.dcmread(archived)
        assert theirs.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
        assert ours.PixelData == theirs.PixelData and ours.PatientName == theirs.PatientName
        assert {element.tag for element in ours if element.tag.element} == {element.tag for element in theirs if element.tag.element}


def test_orthanc_has_each_instance(start_node, tmp_path):
    port = peers.free_port()
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False}
    server = peers.Orthanc(tmp_path, {}, **settings)
    try:
        node = gateway(start_node, tmp_path, port, "ORTHANC")
        send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:50])
        uids = owed(node)
        assert eventually(lambda: server.get("/statistics")["CountInstances"] >= len(uids))
    finally:
        server.stop()


def test_an_archive_that_is_down_and_killed_has_everything_in_the_end(start_node, tmp_path):
    port = peers.free_port()
    node = gateway(start_node, tmp_path, port, "ARCHIVE")
    send(node, corpus.of_syntaxes(*corpus.UNCOMPRESSED)[:100])
    uids = owed(node)
    archived = lambda: {
        str(read.SOPInstanceUID) for path in tmp_path.glob("archive*/*.dcm") for read in [pydicom.dcmread(path, force=True)] if "SOPInstanceUID" in read
    }
    for life in range(4):
        with storescp(tmp_path / f"archive{life}", port=port):
            eventually(lambda: len(archived()) >= len(uids) * (life + 1) // 4, 20)
    with storescp(tmp_path / "archive-last", port=port):
        assert eventually(lambda: archived() >= uids), f"missing: {uids - archived()}"
