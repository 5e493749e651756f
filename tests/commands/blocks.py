"""The blocks of shell in the documents, and what the comment above each says of running it. `tests/tidy/documents.rs` holds that each has one.

| comment | it is run |
|---|---|
| `run` | in a directory of its own, on a network of its own |
| `run beside a node` | the same, with a node that serves with its defaults, has `./data` for its root, and one instance stored |
| `run in ci` | on the machine of the gate, where the package is installed (`.ci/deb`) |
| `run under systemd` | on the machine of `tests/systemd`, where the package is installed and the node runs |
| `not run: …` | not, and this is why |
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- ([^\n]+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    document: str
    line: int
    marker: str
    script: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(marker: str) -> list[Block]:
    """The blocks with this comment."""
    found = []
    for document in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = document.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start(2)) + 1
            found.append(Block(str(document.relative_to(ROOT)), line, match[1], match[2]))
    return [block for block in found if block.marker == marker]
