"""Sources of other makes are asked how many instances they have of a study before it counts as complete."""

from contextlib import contextmanager
from pathlib import Path

import peers
import pydicom
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind
from complete_kills import KEY, Receiver
from ct import CT, EXPLICIT
from test_delivery import eventually
from test_reconcile import dcmqrscp

STUDY = "1.2.826.0.1.3680043.8.1"
IMAGES = 5


def files(directory: Path) -> list[Path]:
    """The images of a study as files."""
    directory.mkdir()
    paths = []
    for number in range(1, IMAGES + 1):
        uid = f"{STUDY}.1.{number}"
        whole = pydicom.Dataset()
        whole.SOPClassUID, whole.SOPInstanceUID = CT, uid
        whole.StudyInstanceUID, whole.SeriesInstanceUID = STUDY, f"{STUDY}.1"
        whole.PatientID, whole.PatientName, whole.StudyID, whole.Modality = "P1", "Hint^Test", "1", "CT"
        whole.StudyDate, whole.StudyTime, whole.AccessionNumber = "20261130", "101010", "A1"
        whole.SeriesNumber, whole.InstanceNumber = 1, number
        whole.file_meta = pydicom.dataset.FileMetaDataset()
        whole.file_meta.TransferSyntaxUID = EXPLICIT
        paths.append(directory / f"{number}.dcm")
        whole.save_as(paths[-1], enforce_file_format=True)
    return paths


def check(start_node, tmp_path: Path, ae_title: str, port: int, store, more: str = "", **settings: str) -> None:
    """The source has all images, and has sent but a part of them: the study waits for the others."""
    receiver, images = Receiver(), files(tmp_path / "images")
    key, configuration = tmp_path / "key", tmp_path / "hints.toml"
    key.write_text(KEY)
    key.chmod(0o600)
    configuration.write_text(
        '[completeness]\nstudy_quiet = "2s"\nseries_quiet = "1s"\nwait_for_missing = "60s"\nask_source = true\n'
        f'[[peer]]\nae_title = "{ae_title}"\naddress = "127.0.0.1:{port}"\n{more}'
        f'[[sink]]\nname = "ris"\nurl = "http://127.0.0.1:{receiver.server_port}/"\nsecret_file = "{key}"\nevents = ["study.complete"]\n'
    )
    node = start_node(configuration, **settings)
    store(images)

    def send(paths: list[Path]) -> None:
        peers.run("dcmsend", "-aet", ae_title, "-aec", node.ae_title, "127.0.0.1", node.port, *paths)

    send(images[:3])
    assert not eventually(lambda: receiver.of(STUDY), 8), receiver.of(STUDY)
    send(images[3:])
    assert eventually(lambda: receiver.of(STUDY))
    data = receiver.of(STUDY)[0]["data"]
    assert (data["basis"], data["expected"], data["instances"], data["missing"]) == ("asked", IMAGES, IMAGES, 0), data
    assert "source does not answer" not in node.log_path.read_text()


@contextmanager
def orthanc(directory: Path, port: int, **more):
    """What stores images in an Orthanc."""
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False, "DicomAlwaysAllowFind": True}
    server = peers.Orthanc(directory, {}, **settings, **more)
    try:
        yield lambda images: [server.upload(path) for path in images]
    finally:
        server.stop()


def test_orthanc_tells_the_number(start_node, tmp_path):
    port = peers.free_port()
    with orthanc(tmp_path, port) as store:
        check(start_node, tmp_path, "ORTHANC", port, store)


def test_orthanc_tells_the_number_over_tls(start_node, authority, tmp_path):
    port = peers.free_port()
    with orthanc(tmp_path, port, **authority.orthanc_settings("peer")) as store:
        check(start_node, tmp_path, "ORTHANC", port, store, "tls = true\n", **authority.settings())


def test_pynetdicom_tells_the_number_over_tls(start_node, authority, tmp_path):
    stored, certificates = [], []

    def find(event):
        certificates.append(event.assoc.dul.socket.socket.getpeercert()["subject"])
        if event.identifier.StudyInstanceUID == STUDY:
            found = pydicom.Dataset()
            found.QueryRetrieveLevel, found.StudyInstanceUID = "STUDY", STUDY
            found.NumberOfStudyRelatedInstances = len(stored)
            yield 0xFF00, found

    ae, port = AE("MODALITY"), peers.free_port()
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    context = authority.server_context("peer")
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, find)], ssl_context=context)
    try:
        check(start_node, tmp_path, "MODALITY", port, stored.extend, "tls = true\n", **authority.settings())
    finally:
        server.shutdown()
    assert certificates and set(certificates) == {((("commonName", "localhost"),),)}


def test_dcmqrscp_is_asked_for_the_instances(start_node, tmp_path):
    """It does not give the number, which is an optional key."""
    with dcmqrscp(tmp_path) as port:
        store = lambda images: peers.run("dcmsend", "-aec", "ARCHIVE", "127.0.0.1", port, *images)
        check(start_node, tmp_path, "ARCHIVE", port, store)
