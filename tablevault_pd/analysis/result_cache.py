"""Results of measures that were worked out before, in the memory of this process.

Not in the vault: looking at a trend must work where nothing may be written, and must change nothing. What is kept is named by
content (the rows that a version shows never change) and by the measure's code with all that it uses; a measure of which
that cannot be told is worked out every time. It is forgotten with the store.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tablevault_pd.store import Store

KEPT = 20_000  #: results for each open vault, the latest used

_caches: weakref.WeakKeyDictionary[Store, OrderedDict[Hashable, Any]] = weakref.WeakKeyDictionary()


def remembered(store: Store, key: Hashable | None, make: Callable[[], Any]) -> Any:
    """What `make` gave for this key before; None as a key: make it anew."""
    if key is None:
        return make()
    cache = _caches.setdefault(store, OrderedDict())
    try:
        result = cache[key]
        cache.move_to_end(key)
        return result
    except KeyError:  # another thread may have dropped it, too
        pass
    result = make()
    cache[key] = result
    while len(cache) > KEPT:
        try:
            cache.popitem(last=False)
        except KeyError:
            break
    return result
