"""Orthanc as the sender: what it sends the node is what it sends another receiver."""

import corpus
from checks import check_all_stored, check_same


def send_to_both(orthanc, instances, **options):
    for modality in ("reference", "tidegate"):
        result = orthanc.store(modality, instances, **options)
        assert result["FailedInstancesCount"] == 0, result


def test_everything_orthanc_takes(orthanc, keeping_node, reference):
    # A version of an instance that Orthanc has already is not imported again.
    samples = list({sample.sop_instance: sample for sample in corpus.readable_to_dcmtk()}.values())
    instances = [orthanc.upload(sample.path) for sample in samples]
    send_to_both(orthanc, [instance for instance in instances if instance])
    check_same(keeping_node, reference)
    assert len(keeping_node.files()) >= 120
    check_all_stored(keeping_node, calling="ORTHANC")


def test_one_association_for_each_instance(orthanc, keeping_node, reference):
    for sample in corpus.of_syntaxes("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"):
        send_to_both(orthanc, [orthanc.upload(sample.path)])
    check_same(keeping_node, reference)


def test_an_association_that_is_checked_by_an_echo(orthanc, keeping_node):
    assert orthanc.request("/modalities/tidegate/echo", b"{}") == {}
    assert keeping_node.files() == []
