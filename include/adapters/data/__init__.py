"""Data at rest: sources, snapshots with their expectations, logged predictions, and counting them."""
