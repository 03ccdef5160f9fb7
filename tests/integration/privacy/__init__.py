"""What is personal: keys, clear values, consents, export, erasure, retention."""
