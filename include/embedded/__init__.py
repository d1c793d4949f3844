"""The platform on one machine: set-up, start, stop, status."""
