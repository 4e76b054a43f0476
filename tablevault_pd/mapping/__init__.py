"""Functions of rows whose results are a list: each input is worked on once, by whatever process, and again only if it changed."""
