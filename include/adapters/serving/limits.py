"""Limits of a prediction request: servers refuse larger ones, and the gateway buffers requests up to these limits."""

MAX_ROWS = 10_000
MAX_BODY_BYTES = 16 * 1024 * 1024
