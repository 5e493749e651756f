"""The node is killed at random while studies come: each must be announced as complete, once for each of its contents, and at its time.

    TIDEGATE_BIN=target/debug/tidegate python tests/interop/complete_kills.py [KILLS]

The senders keep the truth: when each instance was sent first and when it was acknowledged, and when each association was open. A receiver of webhooks,
which is never killed, has the events. Some studies come over several associations, some are sent again, some get more when they were complete, some
lack a number, some tell how many instances they have. Exit code 1: an announcement is missing, too early, repeated, or wrong.
"""

import bisect
import contextlib
import datetime
import http.server
import json
import random
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import kills
import wire

QUIET_S, MISSING_S, GRACE_S = 3.0, 4.0, 2.0
SENDERS = 4
KILL_AFTER_S = (0.3, 4.0)
END_LIMIT_S = 300
# Clocks of milliseconds on both sides.
EARLY_S = 0.005
LATE_S = 1.0
KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Study:
    """What was sent of a study, and when."""

    def __init__(self, uid: str, rng: random.Random):
        self.uid = uid
        numbers = [(series, number) for series in range(1, rng.randint(1, 3) + 1) for number in range(1, rng.randint(4, 12) + 1)]
        kind = rng.choice(["plain", "plain", "plain", "told", "hole"])
        if kind == "hole":
            numbers.remove((1, 2))
        self.has_hole, self.told = kind == "hole", len(numbers) if kind == "told" else None
        self.left = numbers
        self.first_sent: dict[str, float] = {}
        self.acknowledged: dict[str, float] = {}
        # Each with its first instance of the study, and its end.
        self.associations: list[list[float]] = []

    def instance(self, series: int, number: int) -> str:
        return f"{self.uid}.{series}.{number}"

    def dataset(self, series: int, number: int, pixels: int) -> bytes:
        elements = [
            (0x00080016, b"UI", kills.CT),
            (0x00080018, b"UI", self.instance(series, number).encode()),
            (0x0020000D, b"UI", self.uid.encode()),
            (0x0020000E, b"UI", f"{self.uid}.{series}".encode()),
            (0x00200013, b"IS", str(number).encode()),
            *([(0x00201208, b"IS", str(self.told).encode())] if self.told else []),
            (0x7FE00010, b"OW", bytes(pixels)),
        ]
        return b"".join(kills.element(*each) for each in elements)


class Sender(kills.Sender):
    """Sends two studies at a time, in turns, as its random numbers say."""

    def __init__(self, number: int, port: int, until: threading.Event, seed: int):
        super().__init__(number, port, until)
        self.rng = random.Random(f"{seed}/{number}")
        self.studies: list[Study] = []

    def run(self) -> None:
        count = 0
        while not self.until.is_set():
            pair = [Study(f"1.2.826.{self.number}.{count + at}", self.rng) for at in range(2)]
            count += 2
            self.studies += pair
            work = [(study, one) for study in pair for one in study.left]
            self.rng.shuffle(work)
            work.sort(key=lambda each: each[1])
            parts = self.rng.randint(1, 3)
            for part in range(parts):
                self.send(work[part::parts])
                time.sleep(self.rng.uniform(0, QUIET_S * 0.6))
            if self.rng.random() < 0.3:
                self.send(self.rng.sample(work, 3))
            for study in pair:
                if self.rng.random() < 0.4:
                    time.sleep(self.rng.uniform(QUIET_S, QUIET_S + MISSING_S + 2))
                    study.told = None
                    self.send([(study, (9, number)) for number in range(1, self.rng.randint(1, 3) + 1)])

    def send(self, work: list) -> None:
        """Sends each until it is acknowledged, over as few associations as the node's ends allow."""
        work, peer, open_of = list(work), None, {}
        while work:
            study, (series, number) = work[0]
            uid = study.instance(series, number)
            try:
                peer = peer or self.associate()
                whole = study.dataset(series, number, 100 + 7919 * number % 20_000)
                study.first_sent.setdefault(uid, time.time())
                if study.uid not in open_of:
                    open_of[study.uid] = [time.time(), float("inf")]
                    study.associations.append(open_of[study.uid])
                self.store(peer, uid, whole)
                study.acknowledged.setdefault(uid, time.time())
                work.pop(0)
                time.sleep(self.rng.choice([0, 0, 0.02, 0.1]))
            except (OSError, ConnectionError):
                peer, open_of = self.end(peer, open_of)
                time.sleep(0.05)
        with contextlib.suppress(OSError, ConnectionError):
            peer.sendall(wire.pdu(5, bytes(4)))
            wire.read_pdu(peer)
        self.end(peer, open_of)

    def end(self, peer, open_of: dict) -> tuple[None, dict]:
        for association in open_of.values():
            association[1] = time.time()
        if peer:
            peer.close()
        return None, {}


class Receiver(http.server.ThreadingHTTPServer):
    """It has every event once, by its id."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.events, self.repeats = threading.Lock(), {}, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """The node was killed in the middle of a request."""

    def of(self, study: str) -> list[dict]:
        with self.lock:
            return [event for event in self.events.values() if event["subject"] == study]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            known = self.server.events.setdefault(event["id"], event)
            self.server.repeats += known is not event
            assert known == event, f"one id, two events: {known} {event}"
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def configuration(directory: Path, port: int, receiver: Receiver) -> Path:
    key = directory / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = directory / "node.toml"
    path.write_text(
        f'[node]\nlisten = "127.0.0.1:{port}"\n[storage]\nroot = "{directory / "storage"}"\n[admin]\nlisten = "off"\n'
        f'[completeness]\nstudy_quiet = "{QUIET_S:.0f}s"\nseries_quiet = "1s"\nwait_for_missing = "{MISSING_S:.0f}s"\n'
        f'[[sink]]\nname = "ris"\nurl = "http://127.0.0.1:{receiver.server_port}/"\nsecret_file = "{key}"\nevents = ["study.complete", "study.reopened"]\n'
    )
    return path


class Down:
    """When the node was down: from each kill until its catalogue had caught up."""

    def __init__(self, killed: list[float], log: str):
        caught_up = re.findall(r"^(\S+Z)\s.*catalogue caught up", log, re.MULTILINE)
        times = sorted(datetime.datetime.fromisoformat(text).timestamp() for text in caught_up)
        self.spans: list[tuple[float, float]] = []
        for at in killed:
            back = bisect.bisect(times, at)
            end = times[back] if back < len(times) else float("inf")
            if self.spans and self.spans[-1][1] == end:
                continue  # killed again before it was back
            self.spans.append((at, end))

    def within(self, begin: float, end: float) -> float:
        return sum(max(0.0, min(end, until) - max(begin, since)) for since, until in self.spans)


def judge_study(study: Study, events: list[dict], killed: list[float], down: Down, late: list[float]) -> list[str]:
    """What is wrong with the announcements of a study."""
    wrong, told = [], [event for event in events if event["type"] == "study.complete"]
    kinds = [event["type"] for event in events]
    if kinds != ["study.complete", "study.reopened"] * (len(told) - 1) + ["study.complete"]:
        return [f"{study.uid}: {kinds}"]
    arrivals = sorted((at, study.first_sent[uid]) for uid, at in study.acknowledged.items())
    counts = [event["data"]["instances"] for event in told]
    if counts[-1] != len(arrivals):
        wrong.append(f"{study.uid}: the last announcement has {counts[-1]} of {len(arrivals)}")
    if counts != sorted(set(counts)):
        wrong.append(f"{study.uid}: announced again without anything new: {counts}")
    if len({event["data"]["digest"] for event in told}) != len(told):
        wrong.append(f"{study.uid}: announced twice with the same content")
    for event, count in zip(told, counts):
        at, data = datetime.datetime.fromisoformat(event["time"]).timestamp(), event["data"]
        sent_before = sum(1 for acknowledged, _ in arrivals if acknowledged < at)
        if count < sent_before:
            wrong.append(f"{study.uid}: {count} announced at {at}, when {sent_before} were acknowledged")
        acknowledged, first_sent = arrivals[min(count, len(arrivals)) - 1]
        is_told = data["basis"] == "told"
        if is_told and count != data["expected"]:
            wrong.append(f"{study.uid}: {data}")
        quiet = GRACE_S if is_told else QUIET_S
        # With some told instances not sent yet, it waits, too.
        wait = MISSING_S if data["missing"] else 0.0
        ends = []
        for begin, end in study.associations:
            end = min([end, *killed[bisect.bisect(killed, begin) :][:1]])
            if begin < at < end - 0.05:
                wrong.append(f"{study.uid}: announced at {at}, while an association was open from {begin} to {end}")
            if end <= at:
                ends.append(end)
        # The end of an association ends the wait of a told number, too.
        if at < first_sent + (0 if is_told else quiet) + wait - EARLY_S:
            wrong.append(f"{study.uid}: announced {first_sent + quiet + wait - at:.3f} s early: {data}")
        due = max([acknowledged + quiet, *ends])
        late.append(at - due - wait - down.within(due, at))
    return wrong


def judge(options, killed: list[float], log: str, senders: list[Sender], receiver: Receiver) -> int:
    down, late, wrong = Down(killed, log), [], []
    studies = [study for sender in senders for study in sender.studies]
    for study in studies:
        wrong += judge_study(study, receiver.of(study.uid), killed, down, late)
    late.sort()
    tardy = [each for each in late if each > LATE_S]
    instances, completions = sum(len(study.acknowledged) for study in studies), len(late)
    basis = [event["data"]["basis"] for event in receiver.events.values() if event["type"] == "study.complete"]
    lacking = sum(1 for event in receiver.events.values() if event["data"].get("missing"))
    print(f"seed {options.seed}: {len(killed)} kills; {len(studies)} studies, {instances} instances, {completions} completions ({basis.count('told')} told, {lacking} lacking)")
    print(f"events sent twice: {receiver.repeats}; the node was down for {down.within(0, 1e12):.0f} s")
    if late:
        at = [late[int((len(late) - 1) * part)] for part in (0.5, 0.99, 1)]
        print(f"late, in seconds the node was up: median {at[0]:.3f}, 99 % {at[1]:.3f}, most {at[2]:.3f}; {len(tardy)} by more than {LATE_S:.0f} s")
    print(f"{len(wrong)} wrong")
    for one in wrong[:50]:
        print(one)
    return 1 if wrong or tardy else 0


def main() -> int:
    options = kills.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="complete-kills-") as top:
        directory, receiver, port = Path(top), Receiver(), kills.free_port()
        config = configuration(directory, port, receiver)
        node = kills.Process(lambda: kills.start_node(directory, config))
        until = threading.Event()
        senders = [Sender(number, port, until, options.seed) for number in range(SENDERS)]
        try:
            progress = lambda: f"{sum(len(sender.studies) for sender in senders)} studies, {len(receiver.events)} events"
            kills.under_kills(options, [node], senders, until, KILL_AFTER_S, [0, 0, 0.3, 3], progress)
            await_the_last(senders, receiver)
            return judge(options, node.killed, (directory / "node.log").read_text(), senders, receiver)
        finally:
            node.end()


def await_the_last(senders: list[Sender], receiver: Receiver) -> None:
    def is_told(study: Study) -> bool:
        events = receiver.of(study.uid)
        return bool(events) and events[-1]["data"]["instances"] == len(study.acknowledged) and events[-1]["type"] == "study.complete"

    deadline = time.monotonic() + END_LIMIT_S
    while not all(is_told(study) for sender in senders for study in sender.studies) and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(QUIET_S + MISSING_S + 1)  # nothing more is announced


if __name__ == "__main__":
    sys.exit(main())
