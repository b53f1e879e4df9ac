"""Entry point for the scripts of users; see `physopt.commands.script`."""

from physopt.commands.script import script

__all__ = ["script"]
