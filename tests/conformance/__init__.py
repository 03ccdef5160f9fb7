"""What every adapter must do alike: the same tests on nameko, on plain threads and in one process."""
