"""Tables, texts, figures and models that sessions log: lists ``<session>/<name>``, and their files in a folder again."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd import frames, validate
from tablevault_pd.errors import FileMissing, InvalidInput, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.new_files import below
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports
from tablevault_pd.vault import kept_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.session import Recorder
    from tablevault_pd.store import Store, Version
    from tablevault_pd.vault.vault import Vault

PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".cloudpickle"}
PROTOCOLS = (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")  #: how pickles begin
OTHER_FORMATS = (
    "Save the model in its framework's own format: safetensors.torch.save_file(model.state_dict(), …) for PyTorch, "
    "save_pretrained(…) for Transformers, skops.io.dump(…) for scikit-learn, model.save('x.keras') for Keras, "
    "save_model(…) for XGBoost and LightGBM."
)


class LoggedLists:
    """Writes what a session logs into lists of its vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self, recorder: Recorder, name: str, frame: Any, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_table`."""
        self._save(recorder, name, frame, step, inputs)

    def text(self, recorder: Recorder, name: str, text: str, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_text`."""
        cells = {"text": validate.text(text, "text")}
        self._append(recorder, name, cells, step, inputs=inputs, documents="text")

    def figure(self, recorder: Recorder, name: str, figure: Any, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_figure`."""
        ending, content = _drawn(figure)
        digest = hashlib.sha256(content).hexdigest()[:12]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{digest}.{ending}")
            file.write_bytes(content)
            cells = {"path": file.name, "file": str(file)}
            self._append(recorder, name, cells, step, inputs=inputs, files="file", copy=True)

    def model(self, recorder: Recorder, name: str, path: Any, step: int | None, inputs: Any) -> None:
        """See :meth:`Run.log_model`."""
        files = _files_of(Path(validate.path(path, "path")))
        for file in files.values():
            _refuse_pickle(file)
        frame = pd.DataFrame({"path": list(files), "file": [str(file) for file in files.values()]})
        self._save(recorder, name, frame, step, inputs, files="file", copy=True)

    def _save(
        self, recorder: Recorder, name: str, obj: Any, step: int | None, inputs: Any, **options: Any
    ) -> None:
        """Save a version. Its message keeps equal rows of another run or step from being no version."""

        def save() -> None:
            at = recorder.current_step
            message = recorder.label if at is None else f"{recorder.label}, step {at}"
            self._vault.save(address, obj, inputs=inputs, message=message, **options)

        address = _address(recorder, name)
        recorder.write(save, step)

    def _append(
        self, recorder: Recorder, name: str, cells: dict[str, str], step: int | None, **options: Any
    ) -> None:
        """Append a row, which must be like those that the list has."""

        def append() -> None:
            steps = pd.array([recorder.current_step], dtype="Int64")
            row = pd.DataFrame({"session": [recorder.label], "step": steps, **cells})
            self._vault.append(address, row, schema="strict", **options)

        address = _address(recorder, name)
        recorder.write(append, step)


def download(store: Store, version: Version, folder: Path) -> None:
    """Write the files whose contents a version keeps into an empty folder."""
    files = reports.files(store, [version])
    stored = files["stored"].to_numpy(bool)
    if files.empty or not stored.all():
        whose = (
            "no files"
            if files.empty
            else f"{len(files) - stored.sum():,} of {len(files):,} files without their content"
        )
        raise InvalidInput(
            f"{version.label} has {whose}. Contents are kept by save(…, files=…, copy=True), log_model() and "
            "log_figure(). vault.files() shows what is kept, vault.open_file(sha256) reads it."
        )
    digests: dict[str, str] = {}
    for path, sha256 in zip(_paths(store, version, files), files["sha256"], strict=True):
        if digests.setdefault(below(path), sha256) != sha256:
            raise InvalidInput(
                f"Two rows of {version.list!r} have the path {short_repr(path)}, with other contents."
            )
    for path, sha256 in digests.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with kept_files.open_file(store, sha256) as content, target.open("wb") as copy:
            shutil.copyfileobj(content, copy)


def _paths(store: Store, version: Version, files: pd.DataFrame) -> list[Any]:
    """Where each file goes: by the column ``path`` of what log_model() and log_figure() wrote, else by the path that it was saved from."""
    kinds = {column.label: column.kind for column in frames.columns(store.schema(version.schema_id))}
    if kinds.get("path") == "record" and set(files["column"]) == {"file"}:
        return reading.read(store, version, columns=["path"])["path"].loc[files["position"]].tolist()
    absolute = [_absolute(path) for path in files["path"]]
    folders = [os.path.dirname(path) for path in absolute if path is not None]
    shared = os.path.commonpath(folders) if folders else ""
    return [
        path if whole is None else os.path.relpath(whole, shared)
        for path, whole in zip(files["path"], absolute, strict=True)
    ]


def _absolute(path: str) -> str | None:
    """An absolute path, or an address as one; None for a path that starts from a folder."""
    scheme, separator, rest = path.partition("://")
    if separator:
        return os.path.normpath(f"/{scheme}/{rest}")
    return os.path.normpath(path) if os.path.isabs(path) else None


def _address(recorder: Recorder, name: str) -> str:
    return check_name(f"{recorder.name}/{check_name(name)}")


def _files_of(path: Path) -> dict[str, Path]:
    """Return the files of a model by their paths in its folder."""
    if os.path.isfile(path):  # that of Path raises for some names
        return {path.name: path}
    if not os.path.isdir(path):
        raise FileMissing(f"There is no file or folder {short_repr(str(path))}. Nothing was saved.")
    files = sorted(
        Path(folder, file) for folder, _, names in os.walk(path, onerror=_cannot_list) for file in names
    )
    if not files:
        raise InvalidInput(f"The folder {short_repr(str(path))} has no files. Nothing was saved.")
    return {file.relative_to(path).as_posix(): file for file in files}


def _cannot_list(error: OSError) -> None:
    raise FileMissing(
        f"The folder {short_repr(error.filename)} cannot be read: {error.strerror}. Nothing was saved."
    ) from error


def _refuse_pickle(file: Path) -> None:
    try:
        pickled = file.suffix.lower() in PICKLES or any(map(_is_pickle, _beginnings(file)))
    except OSError as error:
        raise FileMissing(
            f"The file {short_repr(str(file))} cannot be read: {error}. Nothing was saved."
        ) from error
    if pickled:
        raise InvalidInput(
            f"{short_repr(str(file))} is a pickle, or has one in it: loading it would run whatever code is there, so log_model() "
            f"keeps none. {OTHER_FORMATS}"
        )


def _beginnings(file: Path) -> Iterator[bytes]:
    """Yield the first bytes of a file, and of each member if it is a zip file, as those of torch.save are."""
    with file.open("rb") as opened:
        yield opened.read(256)
    if zipfile.is_zipfile(file):
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    if not member.flag_bits & 1:  # encrypted ones cannot be read
                        with archive.open(member) as part:
                            yield part.read(256)
        except (zipfile.BadZipFile, NotImplementedError):
            return  # no zip file after all


def _is_pickle(beginning: bytes) -> bool:
    """Whether a file that begins so is a pickle of protocol 2 or later, or an array of NumPy that holds one."""
    if beginning.startswith(b"\x93NUMPY"):
        return b"'|O'" in beginning
    # The size of the header of a safetensors file may look like the first bytes of a pickle.
    return beginning.startswith(PROTOCOLS) and beginning[4:9] != b"\0\0\0\0{"


def _drawn(figure: Any) -> tuple[str, bytes]:
    """Return a picture as a PNG or as a page, and the ending of its name."""
    figure = getattr(figure, "figure", figure)  # of Matplotlib's axes
    if hasattr(figure, "savefig") and not isinstance(figure, type):
        png = io.BytesIO()
        figure.savefig(png, format="png", bbox_inches="tight")
        return "png", png.getvalue()
    if hasattr(figure, "to_plotly_json") and not isinstance(figure, type):
        return "html", figure.to_html(include_plotlyjs="cdn").encode()
    raise InvalidInput(f"log_figure() takes a figure of Matplotlib or Plotly, not {short_repr(figure)}.")
