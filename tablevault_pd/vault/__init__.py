"""The facade: where every public call is checked and documented."""
