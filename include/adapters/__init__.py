"""The world outside, one driver for each system. A driver decides nothing."""
