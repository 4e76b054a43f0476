"""References of docstrings, such as ``:meth:`Vault.save```, become links of the site's reference."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import griffe

import tablevault_pd as tv

ROLE = re.compile(r":(?:meth|func|class|attr|exc|data|mod):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites the roles of Sphinx in the docstrings of the package."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            owner = obj if obj.is_class else obj.parent
            near = owner.name if owner is not None and hasattr(tv, owner.name) else "Vault"
            obj.docstring.value = ROLE.sub(lambda match: link(match[1], near), obj.docstring.value)


def link(name: str, near: str) -> str:
    """Return `name` with a link to it if it is public: of the class `near`, or of the module."""
    for full in (f"{near}.{name}", name):
        if is_public(full):
            return f"[`{name}`][tablevault_pd.{full}]"
    return f"`{name}`"


def is_public(name: str) -> bool:
    """Whether the module has `name`, which may have dots."""
    try:
        reduce(getattr, name.split("."), tv)
    except AttributeError:
        return False
    return not name.startswith("pandas")
