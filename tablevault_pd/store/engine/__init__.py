"""What the stores share: tokenising, ranking, vector scans, indexes, and the rules of a commit."""
