"""Faults injected into a running platform under traffic. ``python -m tests.chaos`` plays all of them."""
