"""Moving vaults and lists: exports for other programs, backups, copies from place to place, and merges."""
