"""What all tests share."""

import os

# Tests compile much and compute little: without LLVM's costly passes they take half the time. The
# operations and their order stay those of a user's run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
