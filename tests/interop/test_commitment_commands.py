"""`tidegate commitments` beside a running node and without one, and what `tidegate status` says of reports that fail."""

import time

from committed import SOON_S, STUDY, check_committed, commitments, store, tidegate
from ct import CT


def failing(node, ct, references):
    """A request whose first attempt has failed, as the list has it."""
    uid = ct.request(node.port, references)
    deadline = time.monotonic() + SOON_S
    while True:
        (found,) = (one for one in commitments(node)["commitments"] if one["transaction_uid"] == uid)
        if found["attempts"]:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_report_that_fails_is_listed_and_sent_at_a_word(start_knowing, make_modality):
    ct = make_modality()
    node = start_knowing(ct)
    assert commitments(node)["commitments"] == []
    assert tidegate(node, "commitments", expect=1).stdout == ""
    references = store(node, range(2))
    missing = (CT, f"{STUDY}.404")
    found = failing(node, ct, [*references, missing])
    assert (found["state"], found["instances"], found["committed"], found["not_committed"]) == ("evaluated", 3, 2, 1)
    assert found["next_attempt"] and found["last_error"] and found["ended"] is None
    number = str(found["id"])

    listed = tidegate(node, "commitments", "--pending").stdout
    assert number in listed and "CT1" in listed and found["transaction_uid"] in listed
    assert all(len(line) <= 80 for line in listed.splitlines()), listed
    assert tidegate(node, "commitments", "--failed", expect=1).stdout == ""
    shown = tidegate(node, "commitments", "show", number).stdout
    assert f"{STUDY}.404\n  0112 no such object instance" in shown
    assert "there is no request 7" in tidegate(node, "commitments", "show", "7", expect=1).stderr
    assert "there is no request 7" in tidegate(node, "commitments", "retry", "7", expect=1).stderr
    status = tidegate(node, "status").stdout
    assert "CANNOT BE DELIVERED: CT1" in " ".join(status.split()), status

    ct.listen()
    tidegate(node, "commitments", "retry", number)
    report = ct.report(found["transaction_uid"])
    assert report.failed == {missing[1]: 0x0112} and report.committed == set(references)
    deadline = time.monotonic() + SOON_S
    while commitments(node)["commitments"][0]["state"] != "reported":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "CANNOT BE DELIVERED" not in tidegate(node, "status").stdout
    # One that was reported is reported again: the modality may have lost it.
    tidegate(node, "commitments", "retry", number)
    ct.report(found["transaction_uid"], number=2)

    # Without the node they are read as they were left, and a retry needs it.
    node.stop()
    read = tidegate(node, "commitments")
    assert number in read.stdout and "no node is running" in read.stderr
    assert f"{STUDY}.404" in tidegate(node, "commitments", "show", number).stdout
    tidegate(node, "commitments", "retry", number, expect=4)


def test_what_comes_late_is_in_the_next_report(start_knowing, make_modality):
    ct = make_modality()
    node = start_knowing(ct)
    references = store(node, range(2))
    late = (CT, f"{STUDY}.1.77")
    found = failing(node, ct, [*references, late])
    assert found["not_committed"] == 1
    assert store(node, [77]) == [late]
    # A request that was looked at already does not wait for the catalogue's next batch.
    time.sleep(1)
    ct.listen()
    tidegate(node, "commitments", "retry", str(found["id"]))
    check_committed(ct.report(found["transaction_uid"]), [*references, late])
