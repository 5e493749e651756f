"""The hardening checklist of docs/security.md: a node runs with its configuration, and each check of its first table is made as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blocks import ROOT

sys.path.append(str(ROOT / "tests/interop"))
from pki import Authority  # noqa: E402

# What a check says, by its place in the table, and whether it succeeds.
EXPECTED = [
    (True, r"configuration is valid"),
    (True, r"\A(?=[^\n]*\n[^\n]*\n\Z)(?=.*127\.0\.0\.1:9112 )(?=.*10\.20\.0\.5:2762 )"),
    (False, r"alert"),
    (False, r"Association Request Failed"),
    (False, r"Association Request Failed"),
    (True, r"denied: the association"),
    (True, r"allowed: the association, by rule \"ct scanners\""),
    (False, r"Called AE Title Not Recognized"),
    (True, r"duplicates = \"refuse\""),
    (True, r"\A401\Z"),
    (True, r"\A40[13]\Z"),
    (True, r"\A\Z"),
    (True, r"tidegate_audit_messages_lost_total 0\n"),
]
LIMIT_S = 120
NAMESPACES = ["--net", "--pid", "--fork", "--kill-child", *(["--map-root-user"] if os.getuid() else [])]


def section() -> str:
    return (ROOT / "docs/security.md").read_text().split("## Hardening checklist")[1].split("\n## ")[0]


def checks() -> list[str]:
    """The commands of the first table, one a row."""
    table = section().split("| set | check | expect |")[1].split("\n\n")[0]
    commands = []
    for row in table.splitlines()[2:]:
        cell = re.split(r"(?<!\\)\|", row)[2]
        command = re.search(r"`(.+)`", cell)[1].replace(r"\|", "|")
        commands.append(f"{commands[-1]} {command}" if cell.strip().startswith("the same") else command)
    return commands


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the files are that the configuration names, and the certificates of two senders."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "lib").mkdir(mode=0o750)
    (tmp_path / "senders").mkdir()
    senders = Authority(tmp_path / "senders")
    senders.sign("CT1", "/O=Hospital/CN=ct1", "DNS:ct1.ct.hospital.example")
    senders.sign("REVOKED", "/O=Hospital/CN=ct2", "DNS:ct2.ct.hospital.example")
    senders.sign("node", "/O=Hospital/CN=gateway", "IP:10.20.0.5")
    senders.revoke("REVOKED", tmp_path / "etc/modalities.crl")
    for source, target in {"node.pem": "node.pem", "node.key": "node.key", "ca.pem": "modalities.pem"}.items():
        (tmp_path / "etc" / target).write_bytes((senders.directory / source).read_bytes())
    (tmp_path / "etc/audit-ca.pem").write_bytes(senders.certificate.read_bytes())
    (tmp_path / "etc/admin.token").write_text("0123456789abcdef0123456789abcdef\n")
    for secret in ("node.key", "admin.token"):
        (tmp_path / "etc" / secret).chmod(0o600)
    return tmp_path


def here(text: str, place: Path) -> str:
    text = text.replace("/etc/tidegate", f"{place}/etc").replace("/var/lib/tidegate", f"{place}/lib")
    return re.sub(r"\b(CT1|REVOKED)\.(key|pem)", rf"{place}/senders/\1.\2", text)


def test_a_node_of_the_checklist_passes_it(place: Path):
    (place / "etc/tidegate.toml").write_text(here(re.search(r"```toml\n(.*?)```", section(), re.DOTALL)[1], place))
    script = """
        ip link set lo up
        ip addr add 10.20.0.5/16 dev lo
        tidegate run --config /etc/tidegate/tidegate.toml >node.log 2>&1 & node=$!
        until grep -q "^tls:" node.log; do kill -0 $node && sleep 0.1 || exit 1; done
        echoscu +tls CT1.key CT1.pem -ic -aet CT1 -aec TIDEGATE 10.20.0.5 2762 || exit 1
    """
    for number, check in enumerate(checks()):
        script += f"({check}) >said.{number} 2>&1; echo $? >code.{number}\n"
    script += "kill $node\nwait $node\n"
    (place / "bin").mkdir()
    (place / "bin/tidegate").symlink_to(Path(os.environ["TIDEGATE_BIN"]).resolve())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")}
    environment["PATH"] = f"{place}/bin:{environment['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        ["unshare", *NAMESPACES, "bash", "-c", here(script, place)],
        cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2 * LIMIT_S,
    )  # fmt: skip
    log = (place / "node.log").read_text()
    assert done.returncode == 0, f"{done.stdout}\n{log}"
    assert len(checks()) == len(EXPECTED)
    for number, (check, (succeeds, words)) in enumerate(zip(checks(), EXPECTED)):
        said, code = (place / f"said.{number}").read_text(), int((place / f"code.{number}").read_text())
        assert (code == 0) == succeeds, f"{check}: {code}, {said}\n{log}"
        assert re.search(words, said, re.DOTALL), f"{check}: {said}\n{log}"
