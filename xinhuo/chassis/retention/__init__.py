"""How long what is kept: one file of rules for all tables, and the nightly work that follows it."""
