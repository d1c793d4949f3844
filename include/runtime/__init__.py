"""Code that runs in a build's own environment: check, train, score, serve. Imports nothing from the platform."""
