"""The part of a :class:`Vault` about search, whose modules are imported at the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pandas as pd


class Search(VaultPart):
    """The part of a :class:`Vault` that searches."""

    def search(
        self,
        text: str | Mapping[Hashable, str] | None = None,
        *,
        near: Any = None,
        filters: Any = None,
        kind: str | Sequence[str] | None = None,
        lists: Any = None,
        code: str | None = None,
        code_in: Literal["slice", "cell", "session"] = "slice",
        description: str | None = None,
        session: Any = None,
        parents_of: Any = None,
        children_of: Any = None,
        since: Any = None,
        until: Any = None,
        as_of: Any = None,
        columns: Sequence[Hashable] | None = None,
        k: int | None = None,
        offset: int = 0,
        match: Literal["all", "any"] | None = None,
        min_score: float | None = None,
        weights: Mapping[str, float] | None = None,
        approx: bool = False,
        metric: Literal["cosine", "dot", "l2"] = "cosine",
        snippet: bool = False,
    ) -> pd.DataFrame:
        """Search rows of all lists that fulfil all conditions, best first.

        Parameters
        ----------
        text : str or dict, optional
            Every word must be there (see `match`), case- and accent-blind, English words in any form (stemmed); ``"a phrase"``, ``OR``,
            ``-not``, ``pre*``. Looked for in documents, in paths of files, and in the text fields of a record together;
            ``{"title": "storm"}`` looks for the words in that column alone (with several columns, in one of them).
        near : vector, array of shape (m, dim), or dict, optional
            Rows with a vector near to it; ``{"vec": vector}`` names the column, ``{"description": vector}`` compares the
            vectors of descriptions. Several vectors give one result each, distinguished by the column ``query``.
        filters : optional
            Only rows that fit, as for :meth:`read`. A list without a column that is named has none.
        kind : {"record", "document", "embedding", "file"} or list of these, optional
            Which items are searched.
        lists : name, pattern such as ``"run-*"``, List, or list of these, optional
            Where to look. Default: the newest version of every list that is not deleted.
        code : str, optional
            Only rows made by code that mentions it: identifiers whole or in part, ``"any text"`` as it stands.
        code_in : {"slice", "cell", "session"}
            Where the code must mention it: in all that made the rows (the writing code, and the functions of other cells and
            of the project's modules that it needs), in the writing cell or script alone, or anywhere in the session.
        description : str, optional
            Only rows of lists, or by sessions, so described.
        session : name, pattern, id, session, frame of :meth:`sessions`, or list of these, optional
            Only rows written by them, as :meth:`sessions` takes them: a bare name means all its runs.
        parents_of, children_of : frame, list, reference, or list of these, optional
            Only rows that these were made from, or that were made from these, however many steps away. One row is a frame
            of one row, ``df.loc[["label"]]``, or its reference.
        since, until : time, optional
            Only rows committed at or after `since`, and before `until` (UTC unless it says otherwise).
        as_of : time, optional
            Search the lists as they were then.
        columns : list of column names, optional
            Columns of the rows to add to the answer. One that has the name of a column of the answer is added as
            ``row.name``; a list that lacks one has missing values there.
        k : int, optional
            At most so many rows (for each query vector). Default: all that match.
        offset : int
            Leave out so many of the best rows: the next page. The index continues from there.
        match : {"all", "any"}, optional
            Whether every word of the text must be there, or one of them, as for a question in plain words; rows with more
            and rarer words come first. A phrase counts as one word; ``-not`` excludes, and ``OR`` separates, either way.
            Default: ``"all"``, but ``"any"`` together with `near`.
        min_score : float, optional
            Only rows whose ``score`` is at least this.
        weights : dict, optional
            What ``"text"`` and ``"near"`` count when both are given: ``{"text": 1.0, "near": 2.0}``. Default: 1.0 each.
        approx : bool
            Vectors may be found by an index, which is faster and may miss some.
        metric : {"cosine", "dot", "l2"}
            How vectors are compared; for ``"l2"`` the score is minus the distance.
        snippet : bool
            Add a column with the part of the text that matched.

        Returns
        -------
        DataFrame, shape (n_rows, 12 + more)
            ref (vault_ref), list (str), position (Int64), version (Int64), kind (str), column (label), score, text_score and
            near_score (float64), value (object), session (str), cell (Int64), then what was asked for. One line per row, for
            the item of it that fits best. Index: rank, from 0. With text and near, either may match, and ``score`` is their
            reciprocal rank fusion: the sum of weight / (60 + rank), ranks counted from 1. Where neither is given, nothing
            ranks the rows, and the three scores are left out.

        Raises
        ------
        InvalidInput
            If an argument cannot be used, nothing is asked, or no list searched has a column that is named.
        InvalidFilter
            If the filter cannot be parsed, or no list that is named has its columns.
        InvalidName
            If no list can have a name in `lists`.
        ListNotFound, ListDeleted, VersionNotFound
            If a list that is named is not there, or was not there at `as_of`.
        SessionNotFound
            If a session that is named is not there.
        DimensionMismatch
            If no column of vectors in the lists that are searched is as wide as `near`.
        VaultCorrupt
            If rows that are needed are damaged. Where all lists are searched, a damaged one is left out with a warning.

        Examples
        --------
        >>> news = vault.save("news", pd.DataFrame({"title": ["Storm at sea", "Sunny days"], "vec": [[1.0, 0.0], [0.0, 1.0]]}))
        >>> vault.search("storms")[["list", "position", "column", "value"]]
           list  position column         value
        0  news         0  title  Storm at sea
        >>> vault.search({"title": "sea -sunny"})["position"].to_list()
        [0]
        >>> vault.search(near=[0.1, 0.9], columns=["title"], k=1)[["position", "score", "title"]].round(3)
           position  score       title
        0         1  0.994  Sunny days
        >>> vault.search("is there a storm on the way?", match="any")["value"].to_list()
        ['Storm at sea']
        """
        from tablevault_pd.search import request, search

        checked = request(
            text, near=near, filters=filters, kind=kind, lists=lists, code=code, code_in=code_in, description=description, session=session,
            parents_of=parents_of, children_of=children_of, since=since, until=until, as_of=as_of, columns=columns, k=k,
            offset=offset, match=match, min_score=min_score, weights=weights, approx=approx, metric=metric, snippet=snippet,
        )  # fmt: skip
        if code is not None:
            self._flush()
        return search(self.store, checked, self._note_read)

    def indexes(self) -> pd.DataFrame:
        """Return the indexes that searches and keys use. They are copies: what is lost or damaged is made anew when needed.

        Returns
        -------
        DataFrame
            One line for each index of the newest version of a list: kind (str: text, vector or keys), list (str), column (str,
            of a vector), metric (str, of a vector), rows (Int64: how many of the list's rows are in it), total (Int64: rows of
            the list), bytes (Int64), state (str: complete; behind, where a search reads the other rows as well; damaged; kept),
            where (str: file or folder in the vault). On a server lists share its indexes, and it says what state they
            are in.

        Examples
        --------
        >>> news = vault.save("news", {"title": "Storm at sea"})
        >>> vault.indexes()[["kind", "list", "total"]]
           kind  list  total
        0  text  news      1
        """
        from tablevault_pd.reading import maintenance_reports

        return maintenance_reports.indexed(self.store.indexes())
