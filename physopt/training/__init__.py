"""Training: one run, from its config to its records."""
