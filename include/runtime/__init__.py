"""What runs in a build's own environment: check, train, score, serve. Ships with the build; imports nothing of the platform."""
