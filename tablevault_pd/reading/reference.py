"""What stands for one version of a list, as the rooms below the facade know it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store import Version


class ListReference:
    """Stands for one version of a list. The facade's ``List`` is one."""

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
        """The version that is meant."""
