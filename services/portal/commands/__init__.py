"""What changes the state of the portal: one function a use case; those for the command line are named here."""

from .accounts import demo_account, first_admin

__all__ = ["demo_account", "first_admin"]
