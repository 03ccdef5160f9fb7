"""Throughput of one job, measured in one run beside plain nameko; every effect is verified before it counts."""
