"""A reference to one version of a list, for the rooms below the facade."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store import Version


class ListReference:
    """A reference to one version of a list, as :class:`List` is."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The list's name."""

    @property
    @abstractmethod
    def vault_id(self) -> str:
        """The vault that the list is in."""

    @abstractmethod
    def _version(self) -> Version:
        """Return the version that it refers to."""
