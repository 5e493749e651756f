"""Malformed requests and datasets that look real, as the same bytes to this node, to DCMTK's storescp and to an Orthanc.

None may be acknowledged that neither pydicom nor dcmdump can read, and none refused that both peers keep so that one of them can."""

from concurrent.futures import ThreadPoolExecutor

import malformed_datasets
import malformed_requests
import receivers

LEAST_CASES = 500
# What differs for a reason of ours, by the name of the case.
CUT = "nobody can read what was received, and it is stored as it was received or not at all; the peers write what they could parse of it"
SHORT = "an instance is filed by elements that are found by the lengths in front of them, and this length leads into the middle of one"
UID = "the SOP Instance UID names the file: no slash, no backslash, nothing beyond ASCII"
TWICE = "an identity that stands twice and once disagrees with the command: readers do not agree which one counts"
ON_PURPOSE: dict[str, str] = {
    "report: lacks its last 2 bytes": CUT,
    "deflated: deflated and cut in the middle": CUT,
    "ct: deflated and cut in the middle": CUT,
    "deflated: deflated and cut before its end": CUT,
    "ct: a sequence shorter than its items": SHORT,
    "ct: SOP class again, another": TWICE,
    "ct: SOP instance again, another": TWICE,
    "implicit: SOP class again, another": TWICE,
    "implicit: SOP instance again, another": TWICE,
    "ct: a SOP instance UID that climbs": UID,
    "ct: a SOP instance UID with a slash": UID,
    "ct: a SOP instance UID with a backslash": UID,
    "ct: a SOP instance UID in UTF-8": UID,
}


def kept(case: malformed_datasets.Case, outcome: receivers.Outcome, readers: dict) -> str:
    """Who reads what an acknowledged case left: of several files, each."""
    if not outcome.is_acknowledged:
        return "-"
    if not outcome.files:
        return "nothing"
    read = [name for name, by in readers.items() if all(case.is_found_in(by[path] or frozenset()) for path in outcome.files)]
    return "+".join(read) or "nobody"


def verdict(ours, ours_kept: str, theirs) -> str | None:
    """The fault of a case, if it has one."""
    if ours.is_acknowledged and ours_kept in ("nobody", "nothing"):
        return "acknowledged, and not readable"
    if not ours.is_acknowledged and all(kept not in ("-", "nobody", "nothing") for _, kept in theirs):
        return "refused, and both peers keep it"
    return None


def test_malformed_requests_and_datasets(tmp_path):
    cases = malformed_datasets.cases()
    cases += malformed_requests.cases(malformed_datasets.bases()["ct"])
    assert len({case.name for case in cases}) == len(cases) >= LEAST_CASES

    receiving = {receivers.tidegate: 1, receivers.storescp: 4, receivers.orthanc: 4}
    with ThreadPoolExecutor(len(receiving)) as pool:
        taken = list(pool.map(lambda kind: receivers.take_all(kind, receiving[kind], tmp_path, cases), receiving))
    files = [path for outcomes in taken for outcome in outcomes for path in outcome.files]
    with ThreadPoolExecutor(2) as pool:
        readers = {
            "dcmdump": dict(zip(files, pool.map(receivers.read_by_dcmdump, files))),
            "pydicom": {path: receivers.read_by_pydicom(path) for path in files},
        }

    faults = []
    for case, *outcomes in zip(cases, *taken):
        columns = [(outcome, kept(case, outcome, readers)) for outcome in outcomes]
        shown = " | ".join(f"{outcome.answer}, {read}" for outcome, read in columns)
        fault = verdict(*columns[0], columns[1:])
        print(f"{case.name} | {shown} | {fault or ''}")
        if (fault is not None) != (case.name in ON_PURPOSE):
            faults.append(f"{case.name}\n    {fault or 'no fault any more: ' + ON_PURPOSE[case.name]}: {shown}")
    names = ", ".join(kind.__name__ for kind in receiving)
    assert not faults, f"{len(faults)} of {len(cases)} cases ({names}):\n" + "\n".join(faults)
