"""The measurements of `bench_accelerator.py`.

rows        a measured quantity or a check, with its goal      tables   rows as Markdown
timing      the time of compiled functions and of updates      worker   measures, in its own process
isotherms updates commands linear_algebra correctness          cases    all of them, in order
supervisor  runs workers, and replaces one that fails
"""
