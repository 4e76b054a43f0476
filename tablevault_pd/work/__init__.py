"""Work that is shared: rows that one process claims, does and finishes, and rows that are followed as they come."""
