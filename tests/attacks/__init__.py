"""What the author of a hostile model would try. ``python -m tests.attacks`` plays all of it on both engines."""
