"""Checks what is under deploy/: `make deploy-check`."""
