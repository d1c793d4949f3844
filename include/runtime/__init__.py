"""What runs in a build's own environment: check, train, score, serve. Imports nothing of the platform."""
