"""Networks that work together with a solver: guesses for it, and corrections of its steps."""
