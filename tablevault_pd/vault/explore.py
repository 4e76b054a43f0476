"""The pages of a vault. Panel, and the modules that make the pages, are imported at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd import validate
from tablevault_pd.errors import MissingDependency
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from tablevault_pd.explore.explorer import Explorer


class Explore(VaultPart):
    """The part of a :class:`Vault` about its pages."""

    def explore(self, address: str = "?view=lists", *, control: bool = False) -> Explorer:
        """Look at the vault in a notebook: lists and rows, sessions and curves, comparisons, lineage, search, what is stale.

        Every page shows the line of Python that gives the same frame. Only the rows of the page are read, and what is read here
        counts for no lineage. Outside of notebooks, ``tablevault-pd ui`` shows the same pages in a browser.

        Parameters
        ----------
        address : str, optional
            The page to begin with, as it stands in the browser's address: ``"?view=list&name=preds"``.
        control : bool
            Also show the buttons that pause, resume and stop running sessions.

        Returns
        -------
        Explorer
            The last line of a cell shows it. Its ``.view`` is a Panel object, ``.go(address)`` shows another page, and
            ``.save(path)`` writes the present one as an HTML file that needs no network.

        Raises
        ------
        MissingDependency
            If the extra ``ui`` is not installed.
        InvalidInput, InvalidType
            If an argument cannot be used.

        Examples
        --------
        >>> saved = vault.save("news", ["Storm", "Sun"])
        >>> vault.explore("?view=list&name=news")
        <Explorer of ...docs.vault: news, version 1>
        """
        address = validate.text(address, "address")
        control = validate.flag(control, "control")
        _ = self.store  # raises VaultClosed
        try:
            from tablevault_pd.explore.explorer import Explorer
        except ImportError as error:
            raise MissingDependency.for_extra(error.name or "panel", "ui", "vault.explore()") from error
        return Explorer(self, control=control, address=address)
