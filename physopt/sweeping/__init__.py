"""Sweeping: many runs, each a process of its own."""
