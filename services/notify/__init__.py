"""Owns who is told what and when, and the record of what was sent."""
