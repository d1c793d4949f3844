"""The HTML pages: one per window, and the history of a model."""
