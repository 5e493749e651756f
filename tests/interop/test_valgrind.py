"""A node under valgrind, as somebody who looks for what takes its time or memory starts it."""

import corpus
import scu
from node import Node
from nodes import starting


class UnderValgrind(Node):
    under = ("valgrind", "--quiet", "--tool=none")


start_node = starting(UnderValgrind)


def test_a_node_stores_under_valgrind(start_node):
    node = start_node(supervision__hang_timeout="60s")
    sample = next(sample for sample in corpus.samples() if len(sample.dataset) < 100_000)
    with scu.associated(node.port, [(sample.sop_class, [sample.transfer_syntax])]) as association:
        stored = scu.store(association, sample.sop_class, sample.sop_instance, sample.transfer_syntax, sample.dataset)
    assert stored == 0
    assert node.received() == {(sample.sop_instance, sample.transfer_syntax, sample.dataset)}
