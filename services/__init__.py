"""The services of Xinhuo; each owns its data and none imports another."""
