"""What Evergreen does, in rooms; docs/architecture.md shows the way through them."""
