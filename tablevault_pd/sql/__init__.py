"""SQL over lists and reports, answered by DuckDB: read :mod:`statement`, then :mod:`tables`, then :mod:`query`."""

from tablevault_pd.sql.query import query

__all__ = ["query"]
