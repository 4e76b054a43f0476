"""The code that made a row: statements, slices of them, and how two slices differ."""

from tablevault_pd.code.diff import CodeDiff, code_diff
from tablevault_pd.code.functions import function_key
from tablevault_pd.code.namespaces import Piece
from tablevault_pd.code.reading import (
    program_trees,
    slice_of_rows,
    slice_of_session,
    slice_of_version,
    slices_of,
    slices_of_rows,
)
from tablevault_pd.code.slice import Slice, Slicer
from tablevault_pd.code.statements import Statement, cut, end_of_with, names_of, statement_place
