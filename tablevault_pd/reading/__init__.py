"""How rows and reports come out of a vault, as frames."""
