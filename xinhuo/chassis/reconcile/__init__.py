"""Reconciliation: what two tables, or two services, say of the same facts is compared, and must be equal."""
