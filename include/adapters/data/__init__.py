"""Data at rest: sources, snapshots and their expectations, logged predictions, and counting."""
