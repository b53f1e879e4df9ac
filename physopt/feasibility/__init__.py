"""Feasibility: which sizes and batches a device's memory can train, by gradient mode.

options   what a user may say             request  the cells that are asked for
cell      a program compiled or run once  process  the process that holds it, under limits
survey    the table of predictions        confirm  cells on both sides of the limit, run
tables    what is printed
"""
