"""The face of `physopt.commands.script`, for the scripts of users."""

from physopt.commands.script import script

__all__ = ["script"]
