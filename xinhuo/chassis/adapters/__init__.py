"""The only modules that know how marked methods are run and which broker carries the messages."""
