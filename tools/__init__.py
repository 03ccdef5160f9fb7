"""What keeps the project itself in order; not installed with it."""
