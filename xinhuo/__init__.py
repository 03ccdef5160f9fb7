"""Xinhuo (薪火): the contracts, the chassis and the command line that all services share."""
