"""The portal: accounts, sessions, the office's directory, API clients, and the keys that sign."""
