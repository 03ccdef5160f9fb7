"""Works that begin at the same moment, one thread each; the threads end with the process, so none can hang a run."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

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


class Begun(Generic[T]):
    """A function that is at work in a thread."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._results: list[T | BaseException] = []

        def run() -> None:
            try:
                self._results.append(work())
            except BaseException as error:
                self._results.append(error)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Tell whether it has returned or raised."""
        return bool(self._results)

    def result(self, timeout: float = 120) -> T:
        """Wait for it and return what it returned; raises what it raised."""
        self._thread.join(timeout)
        assert self._results, "it works for ever"
        if isinstance(self._results[0], BaseException):
            raise self._results[0]
        return self._results[0]
