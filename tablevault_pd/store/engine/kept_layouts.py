"""Layouts that were read of a store: stored piece lists of versions, which never change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tablevault_pd.store import Version
    from tablevault_pd.store.pieces import Pieces

MOST_PIECES = 1 << 20  # of all layouts that are kept: 24 MB …
MOST_LAYOUTS = 1 << 12  # … and some 4 MB: one of few pieces takes a kilobyte, too

#: (list, number of the version that has the layout)
LayoutKey = tuple[int, int]


class KeptLayouts:
    """The layouts that were read last. Threads may lose each other's, and need no lock."""

    def __init__(self) -> None:
        self._kept: tuple[dict[LayoutKey, Pieces], int] = {}, 0

    def pieces(
        self,
        versions: Sequence[Version],
        read: Callable[[Sequence[LayoutKey]], Mapping[LayoutKey, Pieces]],
    ) -> list[Pieces]:
        """What each version shows; `read` returns the layouts that are not kept, and is asked once."""
        needed = {(version.list_id, version.layout) for version in versions if version.layout is not None}
        layouts = self.of(needed)
        unknown = sorted(needed - layouts.keys())
        if unknown:
            new = read(unknown)
            self.keep(new)
            layouts |= new
        return [
            version.tail
            if version.layout is None
            else layouts[version.list_id, version.layout] + version.tail
            for version in versions
        ]

    def of(self, keys: Iterable[LayoutKey]) -> dict[LayoutKey, Pieces]:
        """Those of these layouts that are kept."""
        layouts, _ = self._kept
        return {key: layouts[key] for key in keys if key in layouts}

    def keep(self, new: Mapping[LayoutKey, Pieces]) -> None:
        """Keep layouts that were read, in the place of those that were read first where there are too many."""
        layouts, size = self._kept
        size += sum(len(pieces) for key, pieces in new.items() if key not in layouts)
        layouts = {**layouts, **new}
        for key in list(layouts)[:-1]:
            if size <= MOST_PIECES and len(layouts) <= MOST_LAYOUTS:
                break
            size -= len(layouts.pop(key))
        self._kept = layouts, size
