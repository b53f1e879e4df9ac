"""Watch: the runs below a folder while they train, on a page in the browser or in a terminal.

Everything is read from the records, again when they change. Runs are never disturbed: nothing is
written to their folders.
"""
