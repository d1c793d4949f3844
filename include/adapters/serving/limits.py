"""What one prediction request may hold; the servers refuse more, and the gateway is ready for as much."""

MAX_ROWS = 10_000
MAX_BODY_BYTES = 16 * 1024 * 1024
