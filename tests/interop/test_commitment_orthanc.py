"""Storage commitment with Orthanc: it sends, asks and takes the report, as a gateway in front of an archive does."""

import json
import time

import pytest

import corpus
import peers
from committed import SOON_S

@pytest.fixture
def committing_orthanc(tmp_path, start_knowing):
    """An Orthanc that a node knows to call, and the node."""
    port = peers.free_port()
    known = f'[[peer]]\nae_title = "ORTHANC"\naddress = "127.0.0.1:{port}"\n'
    node = start_knowing(text=known)
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False}
    server = peers.Orthanc(tmp_path, {"tidegate": (node.ae_title, node.port)}, **settings)
    yield server, node
    server.stop()


def outcome(orthanc: peers.Orthanc, uid: str) -> dict:
    """Waits for the report of a request of Orthanc's."""
    deadline = time.monotonic() + SOON_S
    while True:
        said = orthanc.get(f"/storage-commitment/{uid}")
        if said["Status"] != "Pending":
            return said
        assert time.monotonic() < deadline, f"no report: {said}"
        time.sleep(0.1)


def test_orthanc_sends_and_asks(committing_orthanc):
    orthanc, node = committing_orthanc
    samples = ["test_files/CT_small.dcm", "test_files/MR_small.dcm", "test_files/JPEG2000.dcm"]
    samples = [corpus.sample(name) for name in samples]
    uploaded = [orthanc.upload(sample.path) for sample in samples]
    # Orthanc asks by itself when it has sent.
    sent = orthanc.store("tidegate", uploaded, StorageCommitment=True)
    assert sent["FailedInstancesCount"] == 0
    said = outcome(orthanc, sent["StorageCommitmentTransactionUID"])
    assert (said["Status"], said["Failures"]) == ("Success", [])
    assert {(one["SOPClassUID"], one["SOPInstanceUID"]) for one in said["Success"]} == {
        (sample.sop_class, sample.sop_instance) for sample in samples
    }
    # And when it is told to, of what is there and what is not.
    gone = next(file for file in node.stored() if file.sop_instance == samples[0].sop_instance)
    gone.path.unlink()
    asked = orthanc.request("/modalities/tidegate/storage-commitment", json.dumps({"Resources": uploaded}).encode())
    said = outcome(orthanc, asked["ID"])
    assert said["Status"] == "Failure"
    assert [(one["SOPInstanceUID"], one["FailureReason"]) for one in said["Failures"]] == [(samples[0].sop_instance, 0x0112)]
    assert len(said["Success"]) == 2
