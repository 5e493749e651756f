"""Every command of the documents that can be run on a machine of tests is run as it is written."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from blocks import Block, blocks

# What only stops when it is told to, or watches for long: given this long, and then an interrupt.
LIVE = ("tidegate top", "tidegate mem watch", "cargo run --release", "cargo run --release -- run --config tidegate.toml")
LIVE_S = 3
# There is no such association, study, instance or request here; a node this quiet may have no code to name that allocates and keeps.
REFUSED = (
    "tidegate associations --abort 42",
    "tidegate mem diff --seconds 60 --stacks",
    "tidegate mem profile --seconds 30",
    "tidegate studies --accession A1234",
    "tidegate study 1.2.840.113619.2.55.3",
    "tidegate instance 1.2.840.113619.2.55.3.1.7",
    "tidegate commitments",
    "tidegate commitments --pending",
    "tidegate commitments --given-up",
    "tidegate commitments show 1764444801234",
)
LIMIT_S = 60
NAMESPACES = ["--net", "--pid", "--fork", "--kill-child", *(["--map-root-user"] if os.getuid() else [])]
# `cargo run` stands for what it builds: it is built already.
CARGO = """#!/bin/sh
[ "$1 $2" = "run --release" ] || exit 127
shift 2
[ "$1" != -- ] || shift
exec tidegate "$@"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the program on its path, a configuration, and an image to send."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tidegate").symlink_to(Path(os.environ["TIDEGATE_BIN"]).resolve())
    (tmp_path / "bin/cargo").write_text(CARGO)
    (tmp_path / "bin/cargo").chmod(0o755)
    shutil.copy(os.environ["TIDEGATE_IMAGE"], tmp_path / "image.dcm")
    return tmp_path


def script(block: Block, beside_a_node: bool) -> str:
    """The block with a network around it; each command must succeed but where it cannot."""
    lines = ["set -e", "ip link set lo up"]
    if beside_a_node:
        lines += [
            "tidegate run >node.log 2>&1 & node=$!",
            f"timeout {LIMIT_S} sh -c 'until storescu -aec TIDEGATE 127.0.0.1 11112 image.dcm 2>/dev/null; do sleep 0.1; done'",
        ]
    for line in block.script.splitlines():
        command = line.split(" #")[0].strip()
        if command in LIVE:
            line = f"timeout -k {LIMIT_S} -s INT {LIVE_S} {command} || [ $? = 124 ]"
        elif command in REFUSED:
            line = f"{command} || [ $? = 1 ]"
        # As long as it takes to see that it works.
        lines += [f"echo {shlex.quote(f'$ {command}')}", line.replace("--seconds 60", "--seconds 1").replace("--seconds 30", "--seconds 1")]
    if beside_a_node:
        lines += ["kill $node", "wait $node"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("block", [*blocks("run"), *blocks("run beside a node")], ids=str)
def test_commands_of_the_documents_do_what_they_say(block: Block, place: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")}
    environment["PATH"] = f"{place}/bin:{environment['PATH']}:/usr/sbin:/sbin"
    said = subprocess.run(
        # With the namespace go the processes in it, whatever has become of them.
        ["unshare", *NAMESPACES, "bash", "-c", script(block, block.marker == "run beside a node")],
        cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=2 * LIMIT_S,
    )  # fmt: skip
    log = place / "node.log"
    assert said.returncode == 0, f"{said.stdout}\n{log.read_text() if log.exists() else ''}"
