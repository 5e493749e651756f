"""Malformed requests and datasets that look real, as the same bytes to this node, to DCMTK's storescp and to an Orthanc.

None may be acknowledged that neither pydicom nor dcmdump can read, and none refused that both peers keep so that one of them can."""

from concurrent.futures import ThreadPoolExecutor

import malformed_datasets
import malformed_requests
import mutated_datasets
import receivers

LEAST_CASES = 500
SEED, MUTATIONS = 1, 240
RECEIVERS = {receivers.tidegate: 1, receivers.storescp: 4, receivers.orthanc: 6}
# What differs for a reason of ours, by the name of the case.
CUT = "nobody can read what was received, and it is stored as it was received or not at all; the peers write what they could parse of it"
SHORT = "an instance is filed by elements that are found by the lengths in front of them, and this length leads into the middle of one"
BEYOND = "an item reaches beyond its sequence: dcmdump reads on behind the item, pydicom within it, and most datasets like that are lost to both"
UID = "the SOP Instance UID names the file: no slash, no backslash, nothing beyond ASCII"
TWICE = "an identity that stands twice and once disagrees with the command: readers do not agree which one counts"
ON_PURPOSE: dict[str, str] = {
    "report: lacks its last 2 bytes": CUT,
    "ct: (7FE00010) says +2 bytes": CUT,
    "ct: a sequence shorter than its items, at the end": BEYOND,
    "implicit: a sequence shorter than its items": BEYOND,
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

# The same for the datasets that are damaged at random.
DAMAGED_ON_PURPOSE: dict[str, str] = {
    "1.34 report: bytes of a header lost": SHORT,
    "1.45 big endian: bytes behind": CUT,
    "1.124 report: an identity again": TWICE,
    "1.148 deflated: an element cut behind, deflated before": CUT,
    "1.154 report: cut in a header": CUT,
    "1.205 big endian: cut in a header": CUT,
    "1.226 jpeg: an identity again": TWICE,
    "1.22 implicit: an identity again": TWICE,
    "1.251 mr: an identity again": TWICE,
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


def take(kinds, directory, cases) -> list[list[tuple]]:
    """What receivers of these kinds make of the cases: for each kind the outcomes, and who reads what is kept."""
    with ThreadPoolExecutor(len(kinds)) as pool:
        taken = list(pool.map(lambda kind: receivers.take_all(kind, RECEIVERS[kind], directory, cases), kinds))
    files = [path for outcomes in taken for outcome in outcomes for path in outcome.files]
    with ThreadPoolExecutor(2) as pool:
        readers = {
            "dcmdump": dict(zip(files, pool.map(receivers.read_by_dcmdump, files))),
            "pydicom": {path: receivers.read_by_pydicom(path) for path in files},
        }
    return [[(outcome, kept(case, outcome, readers)) for case, outcome in zip(cases, outcomes)] for outcomes in taken]


def judge(rows, on_purpose: dict[str, str]) -> None:
    """Each case with its columns, one for a receiver: none may have a fault but those on purpose."""
    faults = []
    for case, ours, *theirs in rows:
        fault = verdict(*ours, theirs)
        shown = " | ".join(f"{outcome.answer}, {read}" for outcome, read in [ours, *theirs])
        print(f"{case.name} | {shown} | {fault or ''}")
        if (fault is not None) != (case.name in on_purpose):
            faults.append(f"{case.name}\n    {fault or 'no fault any more: ' + on_purpose[case.name]}: {shown}")
    names = ", ".join(kind.__name__ for kind in RECEIVERS)
    assert not faults, f"{len(faults)} of {len(rows)} cases ({names}):\n" + "\n".join(faults)


def test_malformed_requests_and_datasets(tmp_path):
    cases = malformed_datasets.cases()
    cases += malformed_requests.cases(malformed_datasets.bases()["ct"])
    assert len({case.name for case in cases}) == len(cases) >= LEAST_CASES
    judge(list(zip(cases, *take(list(RECEIVERS), tmp_path, cases))), ON_PURPOSE)


def test_datasets_damaged_at_random(tmp_path):
    """The peers are asked only about what the node refuses."""
    cases = mutated_datasets.cases(SEED, MUTATIONS)
    ours, *peers = RECEIVERS
    (by_node,) = take([ours], tmp_path, cases)
    refused = [case for case, (outcome, _) in zip(cases, by_node) if not outcome.is_acknowledged]
    assert 50 < len(refused) < MUTATIONS - 50, "as many of either kind as mutations make"
    by_peers = {case.name: columns for case, *columns in zip(refused, *take(peers, tmp_path, refused))}
    judge([(case, own, *by_peers.get(case.name, [])) for case, own in zip(cases, by_node)], DAMAGED_ON_PURPOSE)
