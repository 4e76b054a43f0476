"""Read rows and reports from a vault, as frames."""
