"""Processes that write one scope at once: nothing lost, nothing twice, and every conflict says what changed."""

from contextlib import ExitStack

from support.emulator import Emulator
from support.store import Rows, Writer, fresh_scope, open_store, remember, texts


def test_sixteen_processes_start_on_an_empty_instance_and_add_to_one_scope() -> None:
    scope = fresh_scope()
    work = [[{"do": "add", "texts": [f"{n}.{i}"], "rebase": True} for i in range(5)] for n in range(16)]
    with Emulator() as emulator:
        with ExitStack() as stack:
            writers = [stack.enter_context(Writer(emulator, scope, w)) for w in work]
            results = [writer.result() for writer in writers]
        assert [status for *_, status in results] == [0] * 16
        seqs = [seq for answers, *_ in results for seq in answers]
        assert sorted(seqs) == list(range(1, 81))
        stored = sorted(texts(open_store(emulator).scope(scope)))
        assert stored == sorted(f"{n}.{i}" for n in range(16) for i in range(5))
        Rows(emulator, scope).audit()


def test_delete_all_against_adds(emulator: Emulator) -> None:
    """However they interleave: what was added before is gone, what was added after is there, the counts add up."""
    scope = fresh_scope()
    remember(open_store(emulator).scope(scope), "old")
    adds = [{"do": "add", "texts": [f"{i}"], "rebase": True} for i in range(30)]
    with ExitStack() as stack:
        adders = [stack.enter_context(Writer(emulator, scope, adds)) for _ in range(2)]
        eraser = stack.enter_context(Writer(emulator, scope, [{"do": "delete_all"}] * 5))
        erased, _, status = eraser.result()
        assert [adder.result()[2] for adder in adders] == [0, 0]
    assert status == 0
    left = texts(open_store(emulator).scope(scope))
    assert sum(erased) + len(left) == 1 + 60
    Rows(emulator, scope).audit()
