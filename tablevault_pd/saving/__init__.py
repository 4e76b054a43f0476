"""How rows get into a vault: anything to Arrow, fitted to the list, staged and committed."""
