"""Capture what runs: scripts, notebook cells, modules, the environment, the end of the process; mask secrets."""
