"""Measured isotherms, read from the files of sorption instruments and of databases."""
