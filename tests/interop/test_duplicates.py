"""The same SOP Instance UID again: the same bytes, and others, under each policy."""

import corpus
import scu

CT = "1.2.840.10008.5.1.4.1.1.2"


def datasets():
    """CT_small and another version of it, of the same UIDs and the same length."""
    sample = corpus.sample("test_files/CT_small.dcm")
    changed = sample.dataset[:-1] + bytes([sample.dataset[-1] ^ 1])
    return sample.sop_instance, sample.dataset, changed


def store(node, *versions) -> list[int]:
    """Sends each version over one association."""
    sop_instance, _, _ = datasets()
    with scu.associated(node.port, [(CT, [corpus.EXPLICIT])]) as association:
        return [
            scu.store(association, CT, sop_instance, corpus.EXPLICIT, version, number + 1)
            for number, version in enumerate(versions)
        ]


def test_the_same_bytes_are_acknowledged_and_not_written_again(start_node):
    for policy in ("replace", "keep-both", "refuse"):
        node = start_node(storage__duplicates=policy)
        _, first, _ = datasets()
        assert store(node, first) == [0x0000]
        (path,) = node.files()
        before = path.stat()
        assert store(node, first, first) == [0x0000, 0x0000]
        assert node.files() == [path]
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_replace_keeps_the_last(start_node):
    node = start_node(storage__duplicates="replace")
    _, first, second = datasets()
    assert store(node, first, second) == [0x0000, 0x0000]
    assert [file.dataset for file in node.stored()] == [second]


def test_keep_both_is_the_default(node):
    _, first, second = datasets()
    assert store(node, first, second, first) == [0x0000] * 3
    assert sorted(file.dataset for file in node.stored()) == sorted([first, second])


def test_keep_both_keeps_each_version_once(start_node):
    node = start_node(storage__duplicates="keep-both")
    _, first, second = datasets()
    assert store(node, first, second, first, second) == [0x0000] * 4
    assert sorted(file.dataset for file in node.stored()) == sorted([first, second])


def test_refuse_keeps_the_first(start_node):
    node = start_node(storage__duplicates="refuse")
    _, first, second = datasets()
    assert store(node, first, second, first) == [0x0000, 0x0111, 0x0000]
    assert [file.dataset for file in node.stored()] == [first]


def test_a_restart_forgets_nothing(start_node, tmp_path):
    from node import Node

    directory = tmp_path / "restarted"
    directory.mkdir()
    _, first, second = datasets()
    for _ in range(2):
        node = Node(directory, storage__duplicates="refuse")
        try:
            assert store(node, first, second) == [0x0000, 0x0111]
        finally:
            node.stop()
    assert [file.dataset for file in node.stored()] == [first]
