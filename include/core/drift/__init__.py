"""Whether a window's data is distributed differently from the live version's training data."""
