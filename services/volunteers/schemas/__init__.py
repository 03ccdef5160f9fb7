"""What the HTTP API of the volunteers service accepts and returns."""
