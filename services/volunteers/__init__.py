"""Owns the volunteers, their teams and activities, and the ledger of the hours they gave."""
