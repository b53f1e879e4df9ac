"""Config: one problem, one rule and the settings of a run, in every form that they take."""

from physopt.config.run_config import RunConfig, from_words

__all__ = ["RunConfig", "from_words"]
