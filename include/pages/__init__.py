"""What people look at: the page of a window and the history of a model."""
