"""Event files of TensorBoard: scalars, texts and hyperparameters, read by the package tensorboard."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, MissingDependency
from tablevault_pd.importers.runs import ImportedRun, put_run, time_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tablevault_pd.vault.vault import Vault

TEXT_COLUMNS = ("run", "tag", "step", "time", "text")


def import_folder(folder: Path, place: AbstractContextManager[Vault]) -> list[tuple[Any, ...]]:
    """Import every run below a folder. Return a row of :data:`~tablevault_pd.importers.runs.COLUMNS` for each."""
    try:
        import tensorboard.backend.event_processing.event_accumulator  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            "The import reads event files by the package tensorboard: pip install tensorboard"
        ) from error
    folders = sorted(
        Path(path) for path, _, names in os.walk(folder) if any("tfevents" in name for name in names)
    )
    if not folders:
        raise InvalidInput(f"There are no event files (…tfevents…) in {folder} or below.")
    with place as target:
        return _import_runs(folder, folders, target)


def _import_runs(folder: Path, places: list[Path], target: Vault) -> list[tuple[Any, ...]]:
    from tensorboard.backend.event_processing import event_accumulator as events

    answers, texts = [], []
    for place in places:
        reader = events.EventAccumulator(
            str(place), size_guidance=dict.fromkeys(events.DEFAULT_SIZE_GUIDANCE, 0)
        )
        reader.Reload()
        name = "/".join([folder.resolve().name, *place.relative_to(folder).parts])
        params, outcome = _hyperparameters(reader)
        own_texts, metrics, left_out = _texts(reader, name), _scalars(reader), _left_out(reader)
        if not (params or own_texts or metrics or left_out):
            continue  # a writer that was opened and told nothing
        run = ImportedRun(
            name, time_of(reader.FirstEventTimestamp()), host="tensorboard", ended=_last_time(place), outcome=outcome or "finished",
            params=params, info={"imported_from": str(place)}, metrics=metrics,
        )  # fmt: skip
        session, added = put_run(target.store, run)
        texts += own_texts
        answers.append((str(place), session.label, len(params), added, len(own_texts), left_out))
    if texts:
        target.save(f"{folder.resolve().name}/texts", pd.DataFrame(texts, columns=TEXT_COLUMNS), inputs=False)
    return answers


def _scalars(reader: Any) -> dict[str, list[tuple[int, int, float]]]:
    from tensorboard.util import tensor_util

    metrics = {
        tag: [(event.step, _micro(event.wall_time), event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }
    for tag in _tensors(reader, "scalars"):
        values = [(event, tensor_util.make_ndarray(event.tensor_proto)) for event in reader.Tensors(tag)]
        metrics[tag] = [(event.step, _micro(event.wall_time), float(value)) for event, value in values]
    return metrics


def _texts(reader: Any, run: str) -> list[tuple[Any, ...]]:
    return [
        (run, tag, event.step, pd.Timestamp(time_of(event.wall_time)), text.decode("utf-8", "replace"))
        for tag in _tensors(reader, "text")
        for event in reader.Tensors(tag)
        for text in event.tensor_proto.string_val
    ]


def _tensors(reader: Any, plugin: str) -> list[str]:
    tags = reader.Tags()["tensors"]
    return [tag for tag in tags if reader.SummaryMetadata(tag).plugin_data.plugin_name == plugin]


def _hyperparameters(reader: Any) -> tuple[dict[str, Any], str | None]:
    """Return the parameters, and how the run ended, where it says so."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    params: dict[str, Any] = {}
    outcome = None
    for tag in reader.summary_metadata:
        plugin = reader.SummaryMetadata(tag).plugin_data
        if plugin.plugin_name != "hparams":
            continue
        data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        for name, value in data.session_start_info.hparams.items():
            kind = value.WhichOneof("kind")
            params[name] = None if kind in (None, "null_value") else getattr(value, kind)
        if data.HasField("session_end_info"):
            outcome = {2: "failed"}.get(data.session_end_info.status, "finished")
    return params, outcome


def _left_out(reader: Any) -> str:
    """What is not imported, with how many tags of each kind there are."""
    tags = reader.Tags()
    counts = Counter({kind: len(tags[kind]) for kind in ("images", "audio", "histograms") if tags[kind]})
    for tag in tags["tensors"]:
        plugin = reader.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin not in ("scalars", "text"):
            counts[f"tensors ({plugin})" if plugin else "tensors"] += 1
    if tags["graph"]:
        counts["graphs"] += 1
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _last_time(place: Path) -> Any:
    newest = max(path.stat().st_mtime for path in place.iterdir() if "tfevents" in path.name)
    return time_of(newest)


def _micro(seconds: float) -> int:
    return round(seconds * 1_000_000)
