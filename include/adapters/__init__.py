"""The outside world: one driver per system. Drivers decide nothing."""
