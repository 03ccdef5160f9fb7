"""Owns accounts, sessions, API clients, and the keys that sign the tokens of them all."""
