"""Config: one problem, one rule and the settings of a run, in all their forms."""

from physopt.config.run_config import RunConfig, from_record, from_words

__all__ = ["RunConfig", "from_record", "from_words"]
