"""Machine: devices, memory, kept programs and processes; where a program runs."""
