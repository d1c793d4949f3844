"""Sensors, named for what they wait for."""
