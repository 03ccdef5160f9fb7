"""What a test's own faults take hold of."""

from collections.abc import Callable

from xinhuo.cli.prove.faults import Hands, Injector


def noted_in(given: list[Hands]) -> Callable[[Hands], Injector]:
    """Return what makes the usual injector, and notes in the list what the test's own faults can reach."""

    def make(hands: Hands) -> Injector:
        given.append(hands)
        return Injector(hands)

    return make
