"""The published language of Xinhuo: every event, its envelope on the wire, and nothing else."""
