"""Delivery to archives that commit what they are sent, of other makes: an instance is delivered when the archive has committed it."""

import json
import subprocess
import threading
import time
import urllib.request

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH_MODEL
from pynetdicom.sop_class import StorageCommitmentPushModelInstance as PUSH_INSTANCE

import corpus
import launch
import peers
from test_delivery import eventually, gateway, send, storescp

COMMIT = "commit = true"
SAMPLES = ["test_files/CT_small.dcm", "test_files/MR_small.dcm"]


def outbox(node, *arguments: str) -> str:
    """The answer of `tidegate outbox`, from the files of the node."""
    command = [str(launch.program(node.binary_variable)), "outbox", *arguments, "--storage", str(node.root), "--json"]
    return subprocess.run(command, capture_output=True, text=True, env=launch.environment(admin__listen="off"), timeout=60).stdout


def sums(node) -> dict:
    """What the catalogue counts of the archive."""
    answer = json.loads(outbox(node))
    return next((row for row in answer["destinations"] if row["name"] == "archive"), {})


class Archive:
    """An SCP of storage and of storage commitment, by pynetdicom. `way` says how it reports: `same`, `other` or `silent`.

    It reports when all samples are asked for, one request after the other: pynetdicom takes a request that crosses its own report, or the answer
    to another of its threads, for the answer that it waits for.
    """

    def __init__(self, way: str, reasons: dict | None = None, syntax: str = ImplicitVRLittleEndian):
        self.way, self.reasons, self.syntax = way, reasons or {}, syntax
        self.port = peers.free_port()
        self.node_port = None
        self.stored: list[str] = []
        self.asked: list[Dataset] = []
        self.statuses: list[int] = []
        self.ae = AE(ae_title="ARCHIVE")
        for context in AllStoragePresentationContexts:
            self.ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        self.ae.add_supported_context(PUSH_MODEL, [syntax])
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self.server = self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        self.server.shutdown()

    def _store(self, event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _action(self, event):
        self.asked.append(event.action_information)
        if self.way != "silent" and self.is_all_asked():
            association = event.assoc if self.way == "same" else None
            threading.Thread(target=self.report, args=(association,), daemon=True).start()
        return 0x0000, None

    def is_all_asked(self) -> bool:
        return sum(len(asked.ReferencedSOPSequence) for asked in self.asked) >= len(SAMPLES)

    def _information(self, asked: Dataset) -> Dataset:
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        committed, failed = [], []
        for item in asked.ReferencedSOPSequence:
            one = Dataset()
            one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
            reasons = self.reasons.get(str(item.ReferencedSOPInstanceUID), [])
            if reasons:
                one.FailureReason = reasons.pop(0)
                failed.append(one)
            else:
                committed.append(one)
        if committed:
            report.ReferencedSOPSequence = committed
        if failed:
            report.FailedSOPSequence = failed
        return report

    def report(self, association=None) -> None:
        """Reports what was asked: on this association, or each on one of its own."""
        time.sleep(0.3)  # after the answer to the request
        for asked in self.asked:
            self._report(asked, association)

    def _report(self, asked: Dataset, association) -> None:
        report = self._information(asked)
        kind = 2 if "FailedSOPSequence" in report else 1
        if association is not None:
            status, _ = association.send_n_event_report(report, kind, PUSH_MODEL, PUSH_INSTANCE)
            self.statuses.append(status.Status)
            return
        ae = AE(ae_title="ARCHIVE")
        ae.add_requested_context(PUSH_MODEL, [self.syntax])
        association = ae.associate("127.0.0.1", self.node_port, ext_neg=[build_role(PUSH_MODEL, scp_role=True)], ae_title="TIDEGATE")
        assert association.is_established
        status, _ = association.send_n_event_report(report, kind, PUSH_MODEL, PUSH_INSTANCE)
        self.statuses.append(status.Status)
        association.release()


def samples():
    return [corpus.sample(name) for name in SAMPLES]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("way", ["same", "other"])
def test_what_pynetdicom_commits_is_delivered(start_node, tmp_path, way, syntax):
    archive = Archive(way, syntax=syntax)
    try:
        node = gateway(start_node, tmp_path, archive.port, "ARCHIVE", COMMIT)
        archive.node_port = node.port
        send(node, samples())
        assert eventually(lambda: sums(node).get("delivered") == 2), sums(node)
        assert sums(node)["sent"] == 0
        assert eventually(lambda: len(archive.statuses) == len(archive.asked))
        assert set(archive.statuses) == {0x0000}
        assert sorted(archive.stored) == sorted(sample.sop_instance for sample in samples())
    finally:
        archive.close()


def test_what_pynetdicom_does_not_commit_is_dead(start_node, tmp_path):
    first, second = (sample.sop_instance for sample in samples())
    archive = Archive("same", {first: [0x0112]})
    try:
        node = gateway(start_node, tmp_path, archive.port, "ARCHIVE", COMMIT)  # attempts = 1
        send(node, samples())
        assert eventually(lambda: (sums(node).get("delivered"), sums(node).get("dead")) == (1, 1)), sums(node)
        [dead] = json.loads(outbox(node, "show"))["deliveries"]
        assert (dead["sop_instance_uid"], dead["last_status"]) == (first, "0112")
    finally:
        archive.close()


def test_a_silent_archive_has_it_and_it_stays_owed(start_node, tmp_path):
    archive = Archive("silent")
    try:
        node = gateway(start_node, tmp_path, archive.port, "ARCHIVE", COMMIT)
        archive.node_port = node.port
        send(node, samples())
        assert eventually(lambda: archive.is_all_asked() and sums(node).get("sent") == 2), sums(node)
        # The report comes when the association has ended.
        archive.report()
        assert eventually(lambda: sums(node).get("delivered") == 2), sums(node)
    finally:
        archive.close()


def test_orthanc_commits_what_it_is_sent(start_node, tmp_path):
    port = peers.free_port()
    settings = {"DicomServerEnabled": True, "DicomPort": port, "DicomCheckCalledAet": False}
    server = peers.Orthanc(tmp_path, {}, **settings)
    try:
        node = gateway(start_node, tmp_path, port, "ORTHANC", COMMIT)
        # Orthanc reports to modalities that it knows by their AE title.
        modality = json.dumps({"AET": node.ae_title, "Host": "127.0.0.1", "Port": node.port}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/modalities/tidegate", data=modality, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        send(node, samples())
        assert eventually(lambda: sums(node).get("delivered") == 2), sums(node)
    finally:
        server.stop()


def test_storescp_does_not_commit_and_the_node_says_so(start_node, tmp_path):
    with storescp(tmp_path / "archive") as port:
        node = gateway(start_node, tmp_path, port, "ARCHIVE", COMMIT)
        send(node, samples())
        assert eventually(lambda: sums(node).get("sent") == 2), sums(node)
        assert eventually(lambda: "does not offer storage commitment" in node.log_path.read_text())
        assert sums(node)["delivered"] == 0
