"""SQL over the lists and reports of a vault. DuckDB is imported at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    import pandas as pd


class Sql(VaultPart):
    """The part of a :class:`Vault` that answers SQL."""

    def sql(self, query: str, /, *, timeout_s: float | None = None, **given: Any) -> pd.DataFrame:
        """Answer a SELECT statement over lists, reports and frames, with DuckDB.

        Only the columns that the statement mentions are read. It can change nothing and reaches neither files nor the network.

        Parameters
        ----------
        query : str
            One SELECT statement in DuckDB's dialect. A table is a list (``preds``, or ``"preds@3"`` for a version), one of
            the reports ``lists``, ``versions``, ``sessions``, ``cells``, ``metrics``, ``descriptions`` and ``edges`` (the
            direct parents of every row), or a frame from `given`. Every list also has the columns ``position`` and ``ref``,
            a reference to the row, where the statement mentions them: saved with such a column, the answer has
            these rows as its parents.
        timeout_s : float, optional
            Stop the query after so many seconds.
        **given
            Frames, Arrow tables and lists of other versions or vaults become tables of that name; anything else is the value of
            the parameter ``$name``. Values are bound, never pasted into the text.

        Returns
        -------
        DataFrame
            The columns of the statement, with the dtypes that lose nothing: integers stay integers (``Int64`` where some are
            missing), sums of integers are int64 where they fit, references are ``vault_ref``. Times with a zone are in UTC.

        Raises
        ------
        InvalidQuery
            If it is no single SELECT statement, names an unknown column, reaches for a file, reads or gives durations or times of
            day with nanoseconds, which would be cut, or needs more memory and disk than there is.
        InvalidInput
            If an argument is of a wrong type or value, or two columns of the answer have one name.
        ListNotFound
            If no list, report or frame has the name of a table.
        QueryTimeout
            If it takes longer than `timeout_s`.
        VaultError
            If the system gives no thread to run it in, or DuckDB cannot start.
        MissingDependency
            If DuckDB is not installed (``pip install 'tablevault-pd[sql]'``).

        Examples
        --------
        >>> _ = vault.save("preds", pd.DataFrame({"id": [1, 2, 3], "topic": ["a", "a", "b"], "ok": [True, False, True]}))
        >>> vault.sql("SELECT topic, count(*) AS n, avg(ok::INT) AS acc FROM preds GROUP BY topic ORDER BY topic")
          topic  n  acc
        0     a  2  0.5
        1     b  1  1.0
        >>> vault.sql("SELECT id FROM preds WHERE id >= $least", least=2)["id"].to_list()
        [2, 3]
        """
        from tablevault_pd.sql import query as run_query

        validate.text(query, "query")
        seconds = None if timeout_s is None else validate.seconds(timeout_s, "timeout_s")
        self._flush()
        frame, versions = run_query(self.store, query, given, timeout_s=seconds)
        for version in versions:
            self._note_read(version)
        return frame
