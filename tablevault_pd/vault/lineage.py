"""The part of a :class:`Vault` about lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.lineage.of_rows import rows_to_trace, slice_named
from tablevault_pd.reading import read as reading
from tablevault_pd.vault.base import VaultPart
from tablevault_pd.vault.lists import List

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd

    from tablevault_pd.code import CodeDiff
    from tablevault_pd.lineage.graph import LineageGraph
    from tablevault_pd.store import Version


class Lineage(VaultPart):
    """The part of a :class:`Vault` about lineage."""

    def _meant_version(self, name: str | List) -> Version:
        return name._version() if isinstance(name, List) else reading.resolve(self.store, name)

    def lineage(
        self,
        name: str | List,
        rows: Any = None,
        *,
        depth: int | None = None,
        direction: Literal["up", "down"] = "up",
        to: str | None = None,
        read: bool = False,
        columns: Sequence[Hashable] | None = None,
        basis: Literal["stated", "inferred", "read"] = "inferred",
    ) -> pd.DataFrame:
        """Return the rows that rows of a list were made from, or that were made from them, at any distance.

        Parameters
        ----------
        name : str or List
            A list, perhaps at a version: ``"answers@2"``.
        rows : int, slice or sequence of int, optional
            Positions of the rows asked for. Default: every row.
        depth : int, optional
            How many steps to go. Default: all the way.
        direction : {"up", "down"}
            To parents, or to children: also to those made from the same row in another version.
        to : str, optional
            Show only relatives in this list.
        read : bool
            Join the relatives' own values on.
        columns : list of column names, optional
            Join only these.
        basis : {"inferred", "stated", "read"}
            The weakest steps to follow: by default those that were stated or that pandas code kept; ``"stated"`` for the
            first alone; ``"read"`` also to the lists that a session had read before it saved a frame of unknown origin.

        Returns
        -------
        DataFrame
            One line for each row asked for and relative: list (str), position (Int64), depth (int64), parent_list (str),
            parent_position (Int64; missing: the whole list), parent_version (Int64, that was read), parent_start and
            parent_stop (Int64, the characters of the document that ``tv.chars`` stated, a line for each such span), basis (str, of
            the weakest step), session (str) and cell (Int64) that wrote the parent; ref (vault_ref), gone (bool, its data was
            vacuumed). Down, child_list, child_position and child_version in place of those of the parent.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If the list is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `rows` names a position that the list has not, or another argument cannot be used.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun", "rain"]}))
        >>> wet = vault.read("words").query("word != 'sun'")
        >>> saved = vault.save("wet", wet.assign(size=wet.word.str.len()))
        >>> vault.lineage("wet")[["position", "depth", "parent_list", "parent_position", "basis"]]
           position  depth parent_list  parent_position     basis
        0         0      1       words                0  inferred
        1         1      1       words                2  inferred
        """
        version = self._meant_version(name)
        positions = _positions(version, rows)
        start = rows_to_trace(version, positions)
        from tablevault_pd.lineage.report import lines

        return lines(
            self.store,
            start,
            direction=direction,
            depth=depth,
            to=to,
            read=read,
            columns=columns,
            basis=basis,
        )

    def citations(
        self,
        name: str | List,
        rows: Any = None,
        *,
        column: Hashable | None = None,
        columns: Sequence[Hashable] | None = None,
    ) -> pd.DataFrame:
        """Return the passages that rows of a list cite: the spans of :func:`tablevault_pd.chars`, with their words.

        Parameters
        ----------
        name : str or List
            A list whose rows were saved with ``inputs={…: tv.chars(…)}``, perhaps at a version.
        rows : int, slice or sequence of int, optional
            Positions of the rows asked for. Default: every row.
        column : hashable, optional
            The column of documents that is cited; may be left out where a cited list has just one.
        columns : list of column names, optional
            Join these columns of the cited list on, from the row in which the passage begins.

        Returns
        -------
        DataFrame
            One line for each row and span: list (str), position (Int64), parent_list (str), parent_version (Int64, that was read),
            parent_position (Int64, of the row in which the passage begins), parent_start and parent_stop (Int64, characters of the
            document), text (str). The words are those of the version that was read, put together where rows of the document
            overlap. An ellipsis stands for characters that no row has or that were erased; ``text`` is missing where all of them
            are gone. A column of `columns` that the answer has itself gets the prefix ``parent_``.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If the list is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `rows` names a position that the list has not, a cited list has several columns of documents and `column` says none
            of them, or none has one of `columns`.

        Examples
        --------
        >>> novel = vault.save("novel", ["It was late. ", "She left."])
        >>> saved = vault.save("answers", [{"answer": "she did"}], inputs={"novel": tv.chars([(7, 22)])})
        >>> vault.citations("answers")[["position", "parent_list", "parent_start", "parent_stop", "text"]]
           position parent_list  parent_start  parent_stop             text
        0         0       novel             7           22  late. She left.
        """
        version = self._meant_version(name)
        traced = rows_to_trace(version, _positions(version, rows))
        column = None if column is None else validate.label(column, "column")
        from tablevault_pd.lineage.citations import citations

        return citations(self.store, traced, column, validate.labels(columns))

    def graph(self, name: str | None = None) -> LineageGraph:
        """Return which lists were made from which, as a frame that can draw itself.

        Parameters
        ----------
        name : str, optional
            Only this list, with all that it came from and all that was made of it.

        Returns
        -------
        LineageGraph
            A DataFrame with one line per batch and version it came from: parent_list (str), parent_version (Int64), child_list
            (str), child_version (Int64), rows (Int64, of the batch), basis (str), session (str), cell (Int64). Also
            ``.to_networkx()``, ``.draw()``, ``.to_svg()``, ``.to_mermaid()``, ``.to_openlineage()``; a notebook shows it as a
            picture.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If `name` is given and is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> vault.graph()[["parent_list", "parent_version", "child_list", "child_version", "basis"]]
          parent_list  parent_version child_list  child_version   basis
        0       words               1      sizes              1  stated
        """
        if name is not None:
            name = reading.resolve(self.store, name).list
        from tablevault_pd.lineage.graph import graph

        return graph(self.store, name)

    def code_diff(self, a: Any, b: Any) -> CodeDiff:
        """Return a unified diff of the slices that made `a` and `b`: of a session what it executed, with all that this needs.

        Statements whose syntax trees are equal do not differ: comments, blank lines and docstrings do not count.

        Parameters
        ----------
        a, b : str, List, session, DataFrame or Series
            A list (``"preds"``), a version (``"preds@3"``), a session (``"train#2"``, an id), or rows that were read.
            A name that a list has means the list, else the latest session of that name.

        Returns
        -------
        CodeDiff
            A str, empty where the code is the same. A notebook shows both sides beside each other.

        Raises
        ------
        ListNotFound, VersionNotFound, SessionNotFound
            If there is no such list, version or session.
        InvalidName
            If no list or session can have that name.
        InvalidInput
            If a frame was not read from this vault.

        Examples
        --------
        >>> one = vault.save("scores", {"score": 1})
        >>> two = vault.save("scores", {"score": 2})
        >>> vault.code_diff("scores@1", "scores@2")
        ''
        """
        from tablevault_pd.code import code_diff

        self._flush()
        (left, left_name), (right, right_name) = (slice_named(self.store, which) for which in (a, b))
        return code_diff(left, right, left_name, right_name)

    def stale(self, name: str | List | None = None) -> pd.DataFrame:
        """Return rows made from rows that have changed since, at any distance, in the order in which to make them again.

        A row is stale when a parent row was changed or removed (``parent``), or when the code that made it exists in a newer
        form that was executed or captured since (``code``): the same cell run again with other code, a function redefined, a
        module that a later run of the session imported otherwise. Comments, blank lines and docstrings do not count, nor does a
        later run that has not come to the place yet. Rows that were saved again and came out equal are as new as the
        code that made them last. What is made from a stale row is stale, too.

        A list that :meth:`map` made is judged as `map` does: by the columns that its function gets, and by the function that this
        process has under that name, or by ``version=``. An input without a result is named too (``new``).

        Parameters
        ----------
        name : str or List, optional
            A list, perhaps at a version. Default: the newest version of every list.

        Returns
        -------
        DataFrame
            One line per row and thing that changed: list (str), position (Int64; missing for an input without a result), reason
            (str: parent, code, new, or unknown where the parent was vacuumed and cannot be compared), of (str, what changed:
            ``"articles@3[12]"``, ``"helper.py: clean"``), depth (Int64: 0 for the row's own code, 1 for its parent …), session (str)
            and cell (Int64) that made the row. Lists come before those that are made from them.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If the list is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        VaultCorrupt
            If rows that are compared are damaged.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun"]}))
        >>> sizes = vault.save("sizes", vault.read("words").assign(size=lambda df: df.word.str.len()))
        >>> marks = vault.save("marks", vault.read("sizes")[["size"]] * 2)
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "rain"]}))
        >>> vault.stale()[["list", "position", "reason", "of", "depth"]]
            list  position  reason          of  depth
        0  sizes         1  parent  words@1[1]      1
        1  marks         1  parent  words@1[1]      2
        """
        version = None
        if name is not None:
            version = self._meant_version(name)
        return self._stale(version)

    def _stale(self, version: Version | None) -> pd.DataFrame:
        from tablevault_pd.lineage.stale import stale
        from tablevault_pd.mapping.stale import MapState

        for run in self._context.sessions():
            run.note_place()
        self._flush(info=True)  # the modules that were imported are kept with what a session ran in
        return stale(self.store, version, MapState(self.store, self._current_run()))


def _positions(version: Version, rows: Any) -> np.ndarray:
    if rows is None:
        return np.arange(version.total)
    if isinstance(rows, slice):
        return np.arange(version.total)[rows]
    try:
        positions = np.atleast_1d(np.asarray(rows))
    except ValueError:
        positions = np.empty(0, object)
    if positions.ndim != 1 or (positions.dtype.kind not in "iu" and len(positions)):
        raise InvalidInput(f"rows= is a position, a slice or a list of positions, not {short_repr(rows)}.")
    positions = positions.astype(np.int64)
    bad = positions[(positions < 0) | (positions >= version.total)]
    if len(bad):
        raise InvalidInput(
            f"rows= names the position {bad[0]}, and {version.label} has {version.total} rows."
        )
    return positions
