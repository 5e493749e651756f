"""The disk hangs: every call waits, and so does whoever walks a path on it. Operators are answered all the same."""

import json
import re
import signal
import subprocess
import threading
import time
import urllib.request

import pytest

import launch
from ground import disk, make_ext4, memory, run, served
from node import Node
from senders import Instance, Ledger, store

# A look at the disk that takes longer means that it does not answer.
ANSWER_S = 2
# Before, a scrape waited four seconds for the disk, and `tidegate status` for ever. The best of several is told apart from that on any machine.
SCRAPES, SCRAPE_LIMIT_S = 10, 1.0
RECORD_LIMIT_S = 60


def frozen(ground):
    """A filesystem without writes (fsfreeze(8)): what a snapshot that never ends does."""
    image = ground.enter_context(memory(ground / "images", "1g")) / "image"
    make_ext4(image, "256M")
    mount = ground.enter_context(disk(image, ground / "mount"))
    return mount / "storage", lambda: run("fsfreeze", "-f", mount), lambda: run("fsfreeze", "-u", mount, expect=None)


def silent(ground):
    """A filesystem whose server is stopped: not even a path on it can be walked. A network filesystem is like that."""
    (ground / "below").mkdir()
    server = ground.enter_context(served(["bindfs", "-f", ground / "below", ground / "mount"], ground / "mount"))
    return ground / "mount" / "storage", lambda: server.send_signal(signal.SIGSTOP), lambda: server.send_signal(signal.SIGCONT)


@pytest.fixture(params=[frozen, silent])
def hanging(ground, request):
    """The root, and what makes its disk hang and answer again; it answers before it is unmounted, whatever happens."""
    root, hang, answer = request.param(ground)
    ground.callback(answer)
    return root, hang, answer


def ask(*arguments) -> tuple[int, str]:
    """Exit code and output of a command, with the patience that an operator gets."""
    environment = launch.environment()
    done = subprocess.run([launch.program(), *arguments], capture_output=True, text=True, timeout=120, env=environment)
    return done.returncode, done.stdout + done.stderr


def scrape(address: str) -> tuple[float, dict[str, float]]:
    """How long the answer took, and the samples."""
    began = time.monotonic()
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    took = time.monotonic() - began
    return took, {name: float(value) for name, value in re.findall(r"^([a-z_]+) (\S+)$", text, re.MULTILINE)}


def test_who_asks_is_answered_with_what_was_last_seen(ground, hanging):
    root, hang, answer = hanging
    ledger, records = Ledger(), ground / "records"
    with Node(root, ground / "node.log", admin="127.0.0.1:0", records=records, hang_timeout="20s") as node:
        address = re.search(r"admin: http://(\S+)/", node.started)[1]
        assert store(node.port, ledger, Instance("2.25.1", 1)) == [0]
        free_before = scrape(address)[1]["tidegate_storage_free_bytes"]
        hang()
        late = threading.Thread(target=store, args=(node.port, ledger, Instance("2.25.1", 2, pixels=150_000)))
        late.start()
        # The look that one scrape begins has not ended when the next one comes.
        while scrape(address)[1]["tidegate_storage_unanswered_seconds"] < ANSWER_S:
            time.sleep(0.5)
        scrapes = [scrape(address) for _ in range(SCRAPES)]
        samples = scrapes[-1][1]
        code, said = ask("status", "--storage", root)
        alive = ask("status", "--live", "--storage", root)
        memory_code, memory_said = ask("mem", "top", "--storage", root)
        # Before the writer is given up, what it holds is written down where the disk does not hang.
        deadline = time.monotonic() + RECORD_LIMIT_S
        while not node.lines("flight record written") and time.monotonic() < deadline:
            time.sleep(0.1)
        hangs = late.is_alive()
        answer()
        late.join()
        assert hangs, "the disk did not hang while all this was asked"
        assert min(took for took, _ in scrapes) < SCRAPE_LIMIT_S
        assert samples["tidegate_storage_unanswered_seconds"] >= ANSWER_S and samples["tidegate_storage_writable"] == 0
        assert samples["tidegate_storage_free_bytes"] == pytest.approx(free_before, rel=0.2), "what was last seen"
        assert samples["tidegate_ready"] == 0
        assert code == 1 and "the disk has not answered for" in said and "NOT RESPONDING" in said, said
        assert alive[0] == 0, alive
        assert memory_code == 0 and "resident" in memory_said, memory_said
        assert node.is_up()
        (path,) = records.glob("*-hang.json")
        record = json.loads(path.read_text())
        assert path.stat().st_mode & 0o777 == 0o600
        at_work = [writer for writer in record["writers"]["writers"] if writer["jobs"]]
        assert at_work and all(writer["quiet_ms"] >= 10_000 for writer in at_work), record["writers"]
        assert any(writer["holds"] for writer in at_work), record["writers"]
        assert record["reason"] == f"{at_work[0]['name']} has work and makes no step", record["reason"]
        assert len(record["history"]) > 5 and record["messages"] and record["associations"]
    faults = ledger.faults(root)
    assert not faults, faults
