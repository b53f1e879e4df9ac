"""Machine: devices, memory, compiled programs and processes."""
