"""Rows by key: which rows of a frame a list has already, which of those differ, and which rows it has no more."""
