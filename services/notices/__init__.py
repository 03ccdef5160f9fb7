"""Owns the units, the issued notices, and the obligations with deadlines that follow from them."""
