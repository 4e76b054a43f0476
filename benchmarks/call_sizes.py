"""How large the vaults are that calls.py asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How much is in a vault."""

    name: str
    rows: int  #: of its largest list
    versions: int  #: of its longest list
    lists: int
    sessions: int
    texts: int
    vectors: int

    def scaled(self, scale: float) -> Size:
        """A vault with a part of that."""
        numbers = (self.rows, self.versions, self.lists, self.sessions, self.texts, self.vectors)
        return Size(self.name, *(max(int(number * scale), 20) for number in numbers))


SIZES = {
    "small": Size("small", 1_000, 20, 20, 20, 1_000, 1_000),
    "middle": Size("middle", 100_000, 1_000, 1_000, 10_000, 20_000, 10_000),
    "large": Size("large", 10_000_000, 100_000, 1_000, 10_000, 200_000, 100_000),
}
