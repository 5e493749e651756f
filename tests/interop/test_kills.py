"""The runs with kills, short: the long ones are started by hand."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("run", [["kills.py", "8"], ["kills.py", "8", "--retention"], ["commitment_kills.py", "8"]], ids=" ".join)
def test_nothing_acknowledged_is_lost_by_kills(run):
    program, *arguments = run
    done = subprocess.run([sys.executable, str(Path(__file__).with_name(program)), *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
