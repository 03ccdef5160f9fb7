"""What a module of the check looked at, and what it found wrong."""

from dataclasses import dataclass, field


@dataclass
class Found:
    """How many of each thing were checked, and each problem as `file: what is wrong: what to do`."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        """Say that so many were checked."""
        self.counts[what] = self.counts.get(what, 0) + number

    def problem(self, where: object, wrong: str, do: str) -> None:
        """Say what is wrong in a file, and what to do."""
        self.problems.append(f"{where}: {' '.join(wrong.split())}: {do}")


class ToolMissing(Exception):
    """A program that a check needs is not here and cannot be installed; the text names it, in Chinese and English."""
