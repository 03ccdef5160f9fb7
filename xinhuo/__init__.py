"""Xinhuo (薪火): the contracts, the chassis and the command line that all services share."""

__version__ = "0.1.0"
