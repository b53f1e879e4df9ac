# %% [markdown]
# # Scores of optimisers
#
# A curve shows one problem. To say which rule is better over many problems takes targets that all
# share, a rule for runs that miss them, and an idea of how much is chance.

# %%
# %matplotlib inline
from pathlib import Path

import pandas as pd

from physopt import analysis

pd.set_option("display.precision", 3)
examples = Path(analysis.__file__).resolve().parent / "example_results"
frame = analysis.load(examples / "rules")

# %% [markdown]
# **Targets.** Several per decade between where all start and the best that anyone reached, the
# same for every rule.

# %%
analysis.shared_targets(frame).groupby("case")["target"].agg(["count", "max", "min"])

# %% [markdown]
# **Time to target.** A run that misses a target counts as twice the largest budget spent on the
# problem; a rule none of whose runs reached it needs for ever, which is infinity, not zero. `low`
# and `high` are a 95 % bootstrap interval over seeds.

# %%
times = analysis.time_to_target(frame)
times[times["case"] == "oscillators"].groupby("method").tail(2)

# %% [markdown]
# **The table**: final error, and time to one target for each problem. The command line prints it
# with `python -m physopt score FOLDER`.

# %%
table = analysis.score_table(frame)
table[["case", "method", "runs", "failed", "median", "low", "high", "target", "penalised"]]

# %%
table.attrs["notes"]

# %% [markdown]
# **Performance profile** (Dolan and Moré): for how many targets is a rule within a factor of the
# fastest? At the left edge, how often it is the fastest; at the right, how much it reaches at
# all.

# %%
analysis.plot_profile(analysis.performance_profile(frame))

# %%
analysis.plot_ecdf(analysis.ecdf(frame))

# %% [markdown]
# **How many times sooner** than Adam, by target. On the upper edge Adam never came there.

# %%
analysis.plot_speedup(analysis.speedup(frame, "adam"), "adam")

# %% [markdown]
# **Ranks**, and **tests** paired by seed. Three seeds cannot make a difference sure: the smallest
# p-value that three pairs allow is 1/4. Six allow 1/32, before correction for the number of
# tests.

# %%
analysis.ranks(frame)

# %%
tests = analysis.paired_tests(frame, "adam")
tests[tests["case"].isin(["oscillators", "all cases"])]
