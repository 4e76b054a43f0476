"""Importers: runs that other trackers kept, as sessions of a vault. The tools are imported when they are needed."""
