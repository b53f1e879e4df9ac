"""Sweeping: many runs, each in a process of its own.

plan       the runs that a user asks for      estimate   what the records tell about them
driver     the loop over the runs             supervise  one run in a child process
lease      sweep and supervisors in touch     resources  devices, cores and threads to share
cluster    runs on Parsl                      display    what is shown and printed
studies    the trials of a tuning             tuning     trials made, options chosen
"""
