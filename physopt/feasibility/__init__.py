"""Feasibility: which sizes and batches a device's memory can train, by gradient mode.

options  what a user may set            request  the requested cells and their device
cell     a program compiled or run once process  the subprocess of cells, under limits
map      the table of predictions and runs       tables   what is printed
"""
