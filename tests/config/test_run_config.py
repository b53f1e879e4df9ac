"""A run's config in its forms: words, options changed one at a time, records."""

import itertools
import json

import pytest

from physopt.commands.show import show_list
from physopt.config import RunConfig, from_record, from_words
from physopt.config.parse import run_hints
from physopt.config.registry import find, find_any
from physopt.config.settings import Settings
from physopt.optimizers import RULES
from physopt.optimizers.first_order import Adam
from physopt.optimizers.spectral.levenberg_marquardt import LevenbergMarquardt
from physopt.options import OptionError
from physopt.problems import PROBLEMS
from physopt.problems.toy import Toy

PAIRS = list(itertools.product(PROBLEMS, RULES))


def test_what_words_say_is_the_config_for_every_problem_and_rule():
    for problem, rule in PAIRS:
        plain = from_words([f"problem={problem}", f"rule={rule}"])
        assert plain.words() == (f"problem={problem}", f"rule={rule}")
        assert from_record(json.loads(json.dumps(plain.record(), default=str))) == plain
        changed = RunConfig(plain.problem, type(plain.rule)(), Settings(seed=3, seconds=2.5))
        assert from_words(list(changed.words())) == changed


def test_words_hold_each_option_that_was_changed_and_nothing_else():
    config = from_words(["problem=ldft2d", "rule=hig"])
    changes = {
        "problem.hidden": (16, 8),
        "problem.textures": ("slits",),
        "problem.tolerance": 1e-4,
        "rule.absolute": True,
        "rule.max_step_norm": None,
        "log_every": None,
        "start": "a folder/with spaces",
        "device": "cpu",
        "seed": 7,
    }
    for key, value in changes.items():
        config = config.with_option(key, value)
    assert config.words() == (
        "problem=ldft2d", "rule=hig", "problem.hidden=[16,8]", "problem.textures=[slits]",
        "problem.tolerance=0.0001", "rule.absolute=true", "rule.max_step_norm=none",
        "seed=7", "log_every=none", "start=a folder/with spaces", "device=cpu",
    )  # fmt: skip
    assert from_words(list(config.words())) == config


def test_a_time_budget_drops_the_default_steps_only_where_it_is_typed():
    typed = from_words(["problem=sin", "rule=adam", "seconds=5"])
    assert typed.settings.steps is None
    plain = from_words(["problem=sin", "rule=adam"])
    both = plain.with_option("seconds", 5)
    assert (both.settings.seconds, both.settings.steps) == (5.0, plain.settings.steps)
    assert from_words(list(both.words())) == both


@pytest.mark.parametrize("value", ["0.25", 0.25])
def test_an_option_is_changed_by_text_or_by_value(value):
    config = RunConfig(Toy(), Adam(), Settings())
    changed = config.with_option("rule.learning_rate", value)
    assert changed == RunConfig(Toy(), Adam(learning_rate=0.25), Settings())
    assert config == RunConfig(Toy(), Adam(), Settings())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("rule.learning_rat", "1", "did you mean rule.learning_rate?"),
        ("learning_rate", 1, "did you mean rule.learning_rate?"),
        ("rule", "adam", "unknown key"),
        ("settings.seed", 1, "unknown key"),
        ("rule.learning_rate", "0", "greater than 0"),
        ("rule.learning_rate", -1, "greater than 0"),
        ("train_size", 1, "batch_size=32: is more than train_size=1"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(key, value, reason):
    with pytest.raises(OptionError, match=reason.replace("?", r"\?")):
        RunConfig(Toy(), Adam(), Settings()).with_option(key, value)


def test_every_key_of_a_run_can_be_changed():
    config = from_words(["problem=ldft3d", "rule=open_es"])
    parts = {"problem": config.problem, "rule": config.rule, "": config.settings}
    for key in run_hints(type(config.problem), type(config.rule)):
        part, _, name = key.rpartition(".")
        assert config.with_option(key, getattr(parts[part], name)) == config


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "names no problem"),
        ({"problem": {"name": "sin"}}, "names no rule"),
        ({"problem": {"name": "sine"}, "rule": {"name": "adam"}}, "unknown problem"),
        ({"problem": {"name": "sin"}, "rule": {"name": "adam", "b3": 1}}, "no such option"),
        ({"problem": {"name": "sin"}, "rule": {"name": "adam"}, "seed": -1}, "at least 0"),
    ],
)
def test_a_record_that_describes_no_run_is_refused(record, reason):
    with pytest.raises(OptionError, match=reason):
        from_record(record)


def test_a_short_name_stands_for_a_rule(capsys):
    config = from_words(["problem=toy", "rule=lm", "rule.damping=1"])
    assert config.rule == LevenbergMarquardt(damping=1.0)
    assert config.words()[1] == "rule=levenberg_marquardt"
    assert find_any("lm") == ("rule", LevenbergMarquardt)
    with pytest.raises(OptionError, match="did you mean lm"):
        find("rule", "lmm")
    show_list()
    assert capsys.readouterr().out.count("levenberg_marquardt, lm") == 1
