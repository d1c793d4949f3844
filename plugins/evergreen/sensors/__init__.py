"""What tasks wait for."""
