"""Which rows came from which: stated or inferred when rows are saved, kept as ranges, walked as frames.

:mod:`origin` marks what is read, :mod:`trace` finds the parents of what is saved, :mod:`edges` is the algebra of
ranges, :mod:`walk` follows them and :mod:`lines` shows the steps; :mod:`graph` and :mod:`stale` answer about lists.
"""
