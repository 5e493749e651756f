"""The fixture that starts nodes, for every suite."""

from pathlib import Path

import pytest

from node import Node


def starting(kind: type[Node]):
    """A fixture whose value starts nodes of that kind, each stopped and held to an orderly end when the test is over."""

    @pytest.fixture
    def start_node(tmp_path: Path):
        nodes = []

        def start(configuration: Path | None = None, **settings: str) -> Node:
            directory = tmp_path / f"node{len(nodes)}"
            directory.mkdir()
            node = kind(directory, configuration, **settings)
            nodes.append(node)
            return node

        yield start
        for node in nodes:
            node.stop()

    return start_node
