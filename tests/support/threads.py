"""Works that begin at the same moment, one thread each; the threads end with the process, so none can hang a run."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

T = TypeVar("T")


def together(*works: Callable[[], object], timeout: float = 120) -> list[object]:
    """Run functions at the same time in threads; return, in their order, what each returned or raised."""
    results: list[object] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(index: int, work: Callable[[], object]) -> None:
        try:
            gate.wait(timeout)
            results[index] = work()
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    return results


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """The same, of works of one kind; raises the first error of any."""
    results = together(*works)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(list[T], results)
