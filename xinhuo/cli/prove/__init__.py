"""``xinhuo prove``: the real services under injected faults, and an independent check of every effect."""
