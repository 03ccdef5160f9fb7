"""What changes state in the volunteers service: one function a use case, inside the caller's transaction."""
