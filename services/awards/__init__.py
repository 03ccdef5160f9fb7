"""Owns the stars that volunteers earn by the hours they gave."""
