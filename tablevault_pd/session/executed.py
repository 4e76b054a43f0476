"""The code that this process has executed, for slices: cells of its notebook, and modules of its project."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from tablevault_pd.capture import environment, script
from tablevault_pd.capture.cell_place import place_in_cell
from tablevault_pd.capture.modules import Module, ProjectModules
from tablevault_pd.capture.position import LAST_WAY, WAY, place_of, place_of_main
from tablevault_pd.code import Piece, Slicer, cut, end_of_with
from tablevault_pd.store import Cell, ModuleSource, WrittenCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tablevault_pd.capture.notebook import Typed
    from tablevault_pd.capture.position import StackLevel
    from tablevault_pd.code import Slice
    from tablevault_pd.session.read_log import Lines, ReadPlace


@dataclass(slots=True, eq=False)
class Ran:
    """A cell of this process's notebook that has begun to run."""

    typed: Typed
    #: (vault, session) -> the number of the cell there
    numbers: dict[tuple[str, int], int] = field(default_factory=dict)
    until: int | None = None  #: the place that it came to, if the cell was cut off
    files: tuple[Module, ...] = ()  #: the scripts that it executes by ``%run``

    def number_in(self, vault: str, session_id: int) -> tuple[int | None, int | None]:
        """Return (session, cell) of this cell: in that session, else in the outermost session of the vault that has it."""
        cell = self.numbers.get((vault, session_id))
        if cell is not None:
            return session_id, cell
        return next(((key[1], cell) for key, cell in self.numbers.items() if key[0] == vault), (None, None))


SOME_SESSION = -1  # stands in slices for the session that they are of
CELLS: list[Ran] = []  #: all cells of this process's notebook, in order
#: (vault, session, cell) of what was typed at the prompt of this process.
TYPED: set[tuple[str, int, int]] = set()


def folder_of_main() -> Path:
    """Return the folder of the script; of a notebook or a prompt, the working directory."""
    file = script.main_file()
    return _resolved(file.parent if file is not None and not script.in_ipython() else script.working_folder())


@lru_cache(maxsize=64)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def folder_of_project() -> Path:
    """Return the folder of the project that the script or notebook belongs to; its own one if it belongs to none."""
    return _project_around(folder_of_main())


_project_around = lru_cache(maxsize=64)(environment.project_folder)
_modules_below = cache(ProjectModules)


def project_modules(*, whole_repository: bool) -> ProjectModules:
    """Return the modules of the project, or those in the whole repository around it."""
    folder = environment.repository_folder(folder_of_main()) if whole_repository else folder_of_project()
    return _modules_below(folder)


class CodeRecorder:
    """Finds the modules and slices of one session that its store lacks. `mask` hides secrets in a text."""

    def __init__(self, *, capture: str, mask: Callable[[str], str]) -> None:
        self._capture, self._mask = capture, mask
        self._stored: dict[str, str] = {}  # path -> SHA-256 of the module that the store has
        # (cell, line) -> what its slice was made of
        self._sliced: dict[tuple[int, int], tuple[object, ...]] = {}
        # (cell, line) -> the slice of what was committed there last
        self._slices: dict[tuple[int, int], Slice] = {}
        self._stored_modules: Mapping[str, Module] | None = None  # all of these
        # (cell, place) -> the ways from there to commits, with their numbers
        self._ways: dict[tuple[int, int], dict[tuple[StackLevel, ...], int]] = {}
        self._project: ProjectModules | None = None
        self.scripts: list[Cell] = []  #: the cells of this session in a script or at a prompt
        self.begun: int | None = None  #: the place in the script where the session began

    @staticmethod
    def typed_before(vault: str, session_id: int, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of earlier attempts that this one goes on from: what was typed at the same prompt.

        A script begins anew, and its text has all of it.
        """
        return [cell for cell in cells if (vault, session_id, cell.cell) in TYPED]

    def sources(self, session_id: int, cell: int | None) -> list[ModuleSource]:
        """Return the modules that the store lacks. Call :meth:`mark_stored` once they are stored."""
        return [
            ModuleSource(
                session_id, module.path, module.sha256, self._mask(module.text), module.name, cell or 0
            )
            for module in self._all_modules()
            if self._stored.get(module.path) != module.sha256
        ]

    def mark_stored(self, sources: Sequence[ModuleSource], code: Sequence[WrittenCode] = ()) -> None:
        """Note that the store has these."""
        self._stored.update({source.path: source.sha256 for source in sources})
        for written in code:
            self._sliced[written.cell, written.line] = self._made_of(written.cell)
        modules = self._modules()
        complete = all(self._stored.get(module.path) == module.sha256 for module in modules.values())
        self._stored_modules = modules if complete else None

    def is_stored(self, cell: int, line: int | None) -> bool:
        """Whether the store has the slice of a cell, or of a statement of a script, and all modules, as they are now."""
        place, made_of = (cell, line or 0), self._made_of(cell)
        modules, stored = made_of[0], self._stored_modules
        if self._sliced.get(place) != made_of or (modules is not stored and modules != stored):
            return False
        self._sliced[place], self._stored_modules = made_of, modules  # the same objects are told at a glance
        return True

    def numbered(
        self, cell: int, place: int, levels: tuple[StackLevel, ...]
    ) -> tuple[int, tuple[StackLevel, ...]]:
        """Return a place with the number of the way from there, and the way; where a statement has too many, none."""
        ways = self._ways.setdefault((cell, place), {}) if levels else {}
        if levels and levels not in ways and len(ways) < LAST_WAY:
            ways[levels] = len(ways) + 1
        number = ways.get(levels, 0)
        return place + WAY * number, levels if number else ()

    def code(
        self, vault: str, session_id: int, cell: int, line: int | None, levels: Sequence[StackLevel] = ()
    ) -> list[WrittenCode]:
        """Return the slice of a cell, or of a statement of a script; nothing if the store has it."""
        if self._capture == "none" or self._sliced.get((cell, line or 0)) == self._made_of(cell):
            return []
        pieces, modules = self._pieces(vault, session_id, cell), self._module_pieces()
        if self.scripts and pieces:  # it runs: how far it had come when somebody asked for stale() is no end
            pieces[-1] = replace(pieces[-1], until=None)
        place = place_of(line)
        if levels:  # the statements of functions come between those of the script, and may have methods
            code_slice = Slicer(pieces, modules).of_place(place, levels)
        else:
            code_slice = _sliced("commits", pieces, modules, lambda slicer: slicer.of_place(place))
        self._slices[cell, line or 0] = code_slice
        return [_written(session_id, cell, line or 0, code_slice)]

    def lines(self, vault: str, cell: int, line: int) -> list[Lines] | None:
        """The statements of the slice of what was committed there, as :meth:`Reads.last` takes them; None if it is not known."""
        code_slice = self._slices.get((cell, line))
        if code_slice is None or code_slice.unresolved:
            return None
        if self.scripts or not CELLS:
            return [(-1, part.line, part.end) for part in code_slice.parts if part.cell == cell]
        numbers = {
            (key[1], number): place
            for place, ran in enumerate(CELLS)
            for key, number in ran.numbers.items()
            if key[0] == vault
        }
        places = ((numbers.get((part.session_id, part.cell)), part) for part in code_slice.parts)  # type: ignore[arg-type]
        return [(place, part.line, part.end) for place, part in places if place is not None]

    def of_function(
        self, vault: str, session_id: int, module: str | None, name: str, place: int | None
    ) -> Slice | None:
        """The slice of a function of the script or notebook, or of a module of the project; None if it is not known whole.

        `place` is how far the script has come.
        """
        if self._capture == "none" or "<" in name:
            return None
        base, modules = name.partition(".")[0], self._module_pieces()
        pieces = self._pieces(vault, session_id, None)
        if module is None and pieces:
            # What the script did before with what the function uses is in its slice; what its own ``main`` did is not.
            pieces[-1] = replace(pieces[-1], until=place or pieces[-1].until, whole=True)
            root = base
        elif module in [piece.module for piece in modules]:
            root = f"from {module} import {base}\n{base}"
        else:
            return None
        code_slice = Slicer([*pieces, Piece(root)], modules).of_place(None)
        return None if code_slice.unresolved or len(code_slice.parts) < 2 else code_slice

    def everything(self, vault: str, session_id: int) -> list[WrittenCode]:
        """Return the slice of all that the session executed, which ends here."""
        if self._capture == "none":
            return []
        cells = [ran for ran in CELLS if (vault, session_id) in ran.numbers]
        if not cells and not self.scripts:
            return []
        if self.scripts:
            pieces = self._pieces(vault, SOME_SESSION, None)
            place = place_of_main()
            until = pieces[-1].until if place is None else end_of_with(pieces[-1].text, place)
            pieces[-1] = replace(pieces[-1], until=until, whole=True)
            some = _of_script(tuple(pieces), tuple(self._module_pieces()), self.begun)
            parts = [replace(part, session_id=part.session_id and session_id) for part in some.parts]
            return [WrittenCode(session_id, -1, 0, tuple(parts), some.unresolved)]
        first = session_id, cells[0].numbers[vault, session_id]
        pieces = self._pieces(vault, session_id, None)
        modules = self._module_pieces()
        whole = _sliced("commits", pieces, modules, lambda slicer: slicer.of_everything(first))
        return [_written(session_id, -1, 0, whole)]

    def _modules(self) -> Mapping[str, Module]:
        if self._capture == "none":
            return {}
        if self._project is None:
            self._project = project_modules(whole_repository=self._capture == "all")
        return self._project.look()

    def _all_modules(self) -> list[Module]:
        """Return imported modules, and scripts that cells executed by ``%run``."""
        files = (
            {} if self._capture == "none" else {module.name: module for ran in CELLS for module in ran.files}
        )
        return [*self._modules().values(), *files.values()]

    def _made_of(self, cell: int) -> tuple[Mapping[str, Module], list[str]]:
        """Return what tells whether a slice would come out otherwise now."""
        return self._modules(), [script_cell.text for script_cell in self.scripts if script_cell.cell == cell]

    def _module_pieces(self) -> list[Piece]:
        return [
            Piece(self._mask(module.text), module.path, module=module.name) for module in self._all_modules()
        ]

    def _pieces(self, vault: str, session_id: int, cell: int | None) -> list[Piece]:
        """Return the code that ran until the end of a cell of this session, or all."""
        if self.scripts or not CELLS:
            return [
                Piece(
                    script_cell.text, script_cell.path, session_id, script_cell.cell, until=script_cell.until
                )
                for script_cell in self.scripts
                if cell is None or script_cell.cell <= cell
            ]
        pieces: list[Piece] = []
        for ran in CELLS:
            session, number = ran.number_in(vault, session_id)
            pieces.append(Piece(self._mask(ran.typed.text), None, session, number, ran.typed.id, ran.until))
            if cell is not None and (session, number) == (session_id, cell):
                break
        return pieces


@lru_cache(maxsize=16)
def _of_script(pieces: tuple[Piece, ...], modules: tuple[Piece, ...], begin: int | None) -> Slice:
    """The slice of all that :data:`SOME_SESSION` executed: in a loop, each one executes the same."""
    return _sliced("ends", pieces, modules, lambda slicer: slicer.of_everything(begin=begin))


_slicers: dict[str, Slicer] = {}  #: that made the last slice of each kind


def _sliced(
    kind: Literal["commits", "ends"],
    pieces: Sequence[Piece],
    modules: Sequence[Piece],
    work: Callable[[Slicer], Slice],
) -> Slice:
    """The slice that `work` takes: by the last slicer of that kind where the program has only gone on since then.

    To work through a long program takes milliseconds. Nobody else has the slicer meanwhile, and one that failed is gone.
    """
    slicer = _slicers.pop(kind, None)
    if slicer is None or not slicer.continued(pieces, modules):
        slicer = Slicer(pieces, modules)
    code_slice = work(slicer)
    _slicers[kind] = slicer
    return code_slice


def place_in_code() -> ReadPlace:
    """Where this process is now: in which cell, and at which place in it."""
    return len(CELLS) - 1, place_in_cell(CELLS[-1].typed.text) if CELLS else place_of_main()


def files_run_by(text: str) -> tuple[Module, ...]:
    """Return the scripts that a cell executes by ``%run``."""
    if "%run" not in text:
        return ()
    project = project_modules(whole_repository=False)
    names = [
        name.removeprefix("%run ")
        for statement in cut(text)
        if statement.kind == "run"
        for _, name, _ in statement.imports
    ]
    return tuple(module for name in names if (module := project.run_file(name)) is not None)


def _written(session_id: int, cell: int, line: int, code_slice: Slice) -> WrittenCode:
    return WrittenCode(session_id, cell, line, code_slice.parts, code_slice.unresolved)
