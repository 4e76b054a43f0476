"""SQL over lists and reports, answered by DuckDB: read :mod:`statement`, then :mod:`tables`, then :mod:`query`."""

from tablevault_pd.keywords import named_as_a_call
from tablevault_pd.sql.query import query

named_as_a_call(__name__)

__all__ = ["query"]
