# %% [markdown]
# # Scores of optimisers
#
# A curve shows one problem. Ranking rules over many problems requires shared targets, a convention
# for runs that miss them, and an estimate of the chance variation.

# %%
# %matplotlib inline
from pathlib import Path

import pandas as pd

from physopt import analysis

pd.set_option("display.precision", 3)
examples = Path(analysis.__file__).resolve().parent / "example_results"
frame = analysis.load(examples / "rules")

# %% [markdown]
# **Targets.** Several per decade between the initial error and the lowest error of any run, the
# same for every rule.

# %%
analysis.shared_targets(frame).groupby("case")["target"].agg(["count", "max", "min"])

# %% [markdown]
# **Time to target.** A run that misses a target counts as twice the largest budget spent on the
# problem; the time of a rule without a run that reached it is infinite. `low` and `high` are a 95 %
# bootstrap interval over seeds.

# %%
times = analysis.time_to_target(frame)
times[times["case"] == "oscillators"].groupby("method").tail(2)

# %% [markdown]
# **Score table**: final error, and time to one target for each problem. `python -m physopt score
# FOLDER` prints it.

# %%
table = analysis.score_table(frame)
table[["case", "method", "runs", "failed", "median", "low", "high", "target", "penalised"]]

# %%
table.attrs["notes"]

# %% [markdown]
# **Performance profile** (Dolan and Moré): the share of targets that a rule reaches within a factor
# of the fastest rule. Left edge: how often it is the fastest; right edge: the share it reaches at
# all.

# %%
analysis.plot_profile(analysis.performance_profile(frame))

# %%
analysis.plot_ecdf(analysis.ecdf(frame))

# %% [markdown]
# **Speedup** over Adam, by target. Markers on the upper edge: Adam never reached the target.

# %%
analysis.plot_speedup(analysis.speedup(frame, "adam"), "adam")

# %% [markdown]
# **Ranks**, and **tests** paired by seed. Three seeds cannot show significance: the smallest
# p-value of three pairs is 1/4, that of six 1/32, before the correction for multiple tests.

# %%
analysis.ranks(frame)

# %%
tests = analysis.paired_tests(frame, "adam")
tests[tests["case"].isin(["oscillators", "all cases"])]
