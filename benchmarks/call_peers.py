"""What other libraries do for the calls of calls.py: LanceDB, MLflow, DuckDB and Faiss, as far as they are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timing import missing, progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from call_sizes import Size

    from tablevault_pd.store.engine.cells import VectorCells

#: Work, and by how much its time is scaled up: 2 for one that does half of it.
Work = tuple["Callable[[], object]", float]
RUNS = 200  # of MLflow; to make thousands takes minutes


class Peers:
    """The same data in other libraries."""

    def __init__(
        self,
        folder: Path,
        size: Size,
        frame: pd.DataFrame,
        matrix: np.ndarray,
        texts: list[str],
        cells: VectorCells | None,
    ) -> None:
        folder.mkdir()
        self._cells = cells  #: of our own approximate index
        self._folder, self._size = folder, size
        self._frame, self._matrix, self._texts = frame, matrix, texts
        self._closing: list[Callable[[], object]] = []

    def calls(self) -> dict[str, dict[str, Work]]:
        """By call and peer."""
        found: dict[str, dict[str, Work]] = {}
        makers = {
            "LanceDB": ("lancedb", self._lance),
            "MLflow": ("mlflow", self._mlflow),
            "DuckDB": ("duckdb", self._duck),
            "Faiss": ("faiss", self._faiss),
        }
        for peer, (package, maker) in makers.items():
            if missing(package) is None:
                progress(f"  {peer}")
                for call, work in maker().items():
                    found.setdefault(call, {})[peer] = work if isinstance(work, tuple) else (work, 1.0)
        return found

    def close(self) -> None:
        """Close what was opened."""
        for close in self._closing:
            close()

    def _lance(self) -> dict[str, Any]:
        import lancedb
        import pyarrow as pa

        db = lancedb.connect(self._folder / "lance")
        width = self._matrix.shape[1]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self._matrix.reshape(-1)), width)
        near = db.create_table("vectors", pa.table({"vec": vectors}))
        text = db.create_table("texts", pa.table({"text": self._texts}))
        text.create_fts_index("text")
        large = db.create_table("large", pa.Table.from_pandas(self._frame, preserve_index=False))
        one = db.create_table("one", pa.table({"step": [0], "loss": [0.5]}))
        middle, query = self._size.rows // 2, self._matrix[7]
        return {
            "search near, 10 hits": lambda: near.search(query).limit(10).to_pandas(),
            "search text, 10 hits": lambda: text.search("w50", query_type="fts").limit(10).to_pandas(),
            "read what a filter keeps": lambda: large.search().where(f"a = {middle}").to_pandas(),
            "append one row": lambda: one.add([{"step": 1, "loss": 0.5}]),
        }

    def _mlflow(self) -> dict[str, Any]:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{self._folder}/mlflow.db")
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("calls")
        runs = min(self._size.sessions, RUNS)
        made = [client.create_run(experiment).info.run_id for _ in range(runs)]
        for number, run in enumerate(made):
            metrics = [mlflow.entities.Metric(name, number / runs, 0, 0) for name in "abcde"]
            client.log_batch(run, metrics, [mlflow.entities.Param(name, str(number)) for name in "fghij"])
        return {
            "append one row": lambda: client.log_metric(made[0], "loss", 0.5, step=1),
            "sessions()": (
                lambda: mlflow.search_runs([experiment], max_results=runs),
                self._size.sessions / runs,
            ),
            "with vault.session()": lambda: client.set_terminated(client.create_run(experiment).info.run_id),
        }

    def _duck(self) -> dict[str, Any]:
        import duckdb

        db = duckdb.connect(self._folder / "duck.db")
        self._closing.append(db.close)
        frame = self._frame
        db.execute("CREATE TABLE large AS SELECT * FROM frame")
        db.execute("CREATE TABLE one (step BIGINT, loss DOUBLE)")
        db.execute("BEGIN")
        for number in range(self._size.lists):
            db.execute(f'CREATE TABLE "lists/{number}" AS SELECT {number} AS c')  # numbers
        db.execute("COMMIT")
        middle = len(frame) // 2
        return {
            "read one column": lambda: db.execute("SELECT b FROM large").df(),
            "read what a filter keeps": lambda: db.execute("SELECT * FROM large WHERE a = ?", [middle]).df(),
            "append one row": lambda: db.execute("INSERT INTO one VALUES (1, 0.5)"),
            "lists()": lambda: db.execute("SELECT * FROM duckdb_tables()").df(),
        }

    def _faiss(self) -> dict[str, Any]:
        import faiss
        import numpy as np

        if self._cells is None:
            return {}
        unit = self._matrix / np.linalg.norm(self._matrix, axis=1, keepdims=True)
        cells = len(self._cells.centers)
        index = faiss.index_factory(unit.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
        index.train(unit[: 40 * cells])
        index.add(unit)
        index.nprobe = self._cells.probes
        return {"search near, approximate, 10 hits": lambda: index.search(unit[7:8], 10)}
