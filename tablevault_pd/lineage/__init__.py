"""Lineage: which rows came from which, stated or inferred when rows are saved, stored as ranges, reported as frames.

When rows are saved: :mod:`declared` reads ``inputs=``, :mod:`resolve_rows` finds which stored rows the rows of a frame are,
:mod:`record` collects the parents, :mod:`parent_links` turns them into ranges. When lineage is read: :mod:`walk` follows :mod:`edges`,
:mod:`report` makes frames of the steps. :mod:`graph` and :mod:`stale` report about whole lists.
"""

from tablevault_pd.keywords import named_as_a_call

named_as_a_call(__name__)
