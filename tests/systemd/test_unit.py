"""The package and its unit under a real systemd: installed, started, served, reloaded, watched, restarted, stopped, purged.

The tests are one story, in this order.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from blocks import Block, blocks
from machine import Machine, make_tree

CONFIGURATION = "/etc/tidegate/tidegate.toml"
STORED = "find /var/lib/tidegate/data -name '*.dcm' -user tidegate -perm 0640 | wc -l"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    package = Path(os.environ["TIDEGATE_PACKAGE"]).resolve()
    tree = Path(os.environ["SYSTEMD_TREE"]).resolve()
    make_tree(tree)
    machine = Machine(tree, tmp_path_factory.mktemp("machine"), [package])
    machine.package = f"/opt/{package.name}"
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def images() -> list[str]:
    return os.environ["TIDEGATE_IMAGES"].split(":")


def shown(machine: Machine, name: str) -> str:
    return machine.do(f"systemctl show tidegate -P {name}")


def logged(machine: Machine, words: str) -> None:
    """Waits until the journal has a line with that, a regular expression of grep's."""
    machine.until(f"journalctl -u tidegate -o cat --no-pager | grep -e '{words}'")


def send(machine: Machine, files: list[str], *options: str) -> subprocess.CompletedProcess:
    command = ["storescu", "-v", "-aec", "TIDEGATE", "-xs", "-R", *options, "127.0.0.1", str(machine.port), *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def stored(machine: Machine) -> int:
    return int(machine.do(STORED))


def test_the_package_is_installed_and_starts_nothing(machine):
    machine.do(f"apt-get install -q -y {machine.package}")
    assert machine.run("systemctl is-active tidegate")[1] == "inactive"
    assert machine.run("systemctl is-enabled tidegate")[1] == "disabled"


def test_it_is_started_when_it_serves(machine):
    machine.do("systemctl enable --now tidegate")
    assert shown(machine, "Type") == "notify"
    assert shown(machine, "StatusText").startswith("serving on 0.0.0.0:11112")
    # No waiting: `start` came back when the node was ready.
    # Without an option, a command finds the packaged node.
    machine.do("tidegate status")


def test_its_sandbox_is_closed(machine):
    pid = shown(machine, "MainPID")
    status = machine.do(f"cat /proc/{pid}/status")
    for line in (r"NoNewPrivs:\s1", r"Seccomp:\s2", r"CapEff:\s0{16}", r"CapBnd:\s0{16}"):
        assert re.search(line, status), f"{line} not in {status}"
    assert machine.do(f"stat -c %U /proc/{pid}") == "tidegate"
    mounts = machine.do(f"cat /proc/{pid}/mounts")
    of = {line.split()[1]: line.split()[3].split(",") for line in mounts.splitlines()}
    assert "ro" in of["/"] and "ro" in of["/home"] and "rw" in of["/var/lib/tidegate"], mounts
    rated = machine.do("systemd-analyze security tidegate --no-pager")
    assert float(re.search(r"exposure level for tidegate.service: ([\d.]+)", rated)[1]) <= 1.3, rated


def test_it_serves_a_store(machine, images):
    said = send(machine, images)
    assert said.returncode == 0, said.stderr
    assert stored(machine) == len(images)


def test_the_journal_has_the_statistics(machine):
    logged(machine, "statistics.*budget")


@pytest.mark.parametrize("block", blocks("run under systemd"), ids=str)
def test_commands_of_the_documents_do_what_they_say(machine, block: Block):
    machine.do("cd /opt && ln -sf $(find /var/lib/tidegate/data -name '*.dcm' | head -1) FILE")
    for line in block.script.splitlines():
        command = line.replace("--seconds 60", "--seconds 1").replace("--seconds 30", "--seconds 1").replace(" -x 5 3", " -x 1 2")
        # What only stops when it is told to.
        if command.endswith(" -f"):
            command = f"timeout -s INT 3 {command} || [ $? = 124 ]"
        code, said = machine.run(f"cd /opt && set -o pipefail && {command}")
        # Nothing to find is no failure to look; a node this quiet may have no code to name that allocates and keeps.
        may_find_nothing = "grep" in command or command.startswith(("tidegate mem diff", "tidegate mem profile", "tidegate commitments"))
        assert code == 0 or code == 1 and may_find_nothing, f"{command}: {code}\n{said}"


def test_a_reload_takes_over_what_changed_and_refuses_a_mistake(machine, images):
    pid = shown(machine, "MainPID")
    machine.do(f"printf '\\n[associations]\\nmax = 64\\n' >> {CONFIGURATION} && systemctl reload tidegate")
    logged(machine, "setting changed.*associations.max")
    logged(machine, "configuration reloaded")
    machine.do(f"echo 'max = 0' >> {CONFIGURATION} && systemctl reload tidegate")
    logged(machine, "configuration not reloaded")
    machine.do(f"sed -i '/^max = 0/d' {CONFIGURATION} && tidegate check-config --config {CONFIGURATION}")
    assert (shown(machine, "MainPID"), shown(machine, "ActiveState")) == (pid, "active")
    assert send(machine, images[:1]).returncode == 0


def test_one_that_stands_still_is_restarted_by_the_watchdog(machine, images):
    # Standing still it does not hear the signal that is to end it: no need to wait a minute for that.
    machine.do("mkdir -p /run/systemd/system/tidegate.service.d")
    machine.do("printf '[Service]\\nTimeoutAbortSec=1s\\n' > /run/systemd/system/tidegate.service.d/test.conf && systemctl daemon-reload")
    pid = shown(machine, "MainPID")
    machine.do(f"kill -STOP {pid}")
    logged(machine, "Watchdog timeout (limit 30s)")
    machine.until("test $(systemctl show tidegate -P NRestarts) -ge 1 && systemctl is-active tidegate")
    assert shown(machine, "MainPID") != pid
    assert send(machine, images[:1]).returncode == 0
    assert stored(machine) == len(images)


def test_one_that_gives_up_is_restarted(machine, images):
    # Its storage fails, and no restart of a part is allowed: exit code 3.
    machine.do(f"printf '[writers]\\ncount = 1\\n[supervision]\\nmax_restarts = 0\\n' >> {CONFIGURATION} && systemctl restart tidegate")
    temporary = "/var/lib/tidegate/data/.tidegate/tmp"
    machine.do(f"rm -rf /var/lib/tidegate/data/[0-9]* && chmod 0500 {temporary}")
    send(machine, images * 20, "--no-halt")
    logged(machine, "Main process exited, code=exited, status=3")
    machine.do(f"chmod 0750 {temporary}")
    machine.until("systemctl is-active tidegate && tidegate status --config " + CONFIGURATION)
    assert send(machine, images).returncode == 0


def test_a_stop_lets_senders_finish_what_they_are_at(machine, images):
    before = stored(machine)
    sender = subprocess.Popen(
        ["storescu", "-v", "-aec", "TIDEGATE", "-xs", "-R", "+II", "--repeat", "500", "127.0.0.1", str(machine.port), images[0]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    machine.until(f"test $({STORED}) -gt {before}")
    machine.do("systemctl stop tidegate")
    acknowledged = sender.communicate(timeout=600)[0].count("Received Store Response (Success)")
    assert (shown(machine, "Result"), shown(machine, "ExecMainStatus")) == ("success", "0")
    logged(machine, "stopped.*actors_left=0 leased_bytes_left=0")
    assert stored(machine) - before >= acknowledged > 0
    machine.do(f"runuser -u tidegate -- tidegate verify --config {CONFIGURATION}")


def test_an_upgrade_restarts_what_runs_and_a_purge_leaves_the_instances(machine):
    machine.do("systemctl start tidegate")
    pid = shown(machine, "MainPID")
    machine.do(f"apt-get install -q -y --reinstall {machine.package}")
    assert shown(machine, "ActiveState") == "active" and shown(machine, "MainPID") != pid
    before = stored(machine)
    machine.do("apt-get purge -q -y tidegate")
    assert machine.run("systemctl is-active tidegate")[1] == "inactive"
    assert stored(machine) == before > 0
