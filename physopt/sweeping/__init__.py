"""Sweeping: many runs, each in a process of its own.

plan       the requested runs                 estimate   their state and cost by the records
driver     the loop over the runs             supervise  one run in a child process
lease      liveness of the sweep     resources  devices, cores and threads to share
cluster    runs on Parsl                      display    what is shown and printed
studies    the trials of a tuning             tuning     trials made, options selected
"""
