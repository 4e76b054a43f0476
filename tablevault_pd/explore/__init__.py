"""Pages of a vault to look at: in a notebook by ``vault.explore()``, in a browser by ``tablevault-pd ui``.

A page is a function of its address, and returns HTML and figures. `html` and `tables` make HTML, `pages` makes the pages,
`explorer` shows them and follows links, `server` guards them in a browser.
"""

from tablevault_pd.keywords import named_as_a_call

named_as_a_call(__name__)
