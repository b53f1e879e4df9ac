"""The table of options that suit a problem and a rule: valid, and the user prevails over it."""

import pytest

import physopt
from physopt.config import from_words
from physopt.config.presets import RULE_OPTIONS, suited_options
from physopt.config.registry import find
from physopt.optimizers import RULES
from physopt.optimizers.spectral import HalfInverse
from physopt.problems import PROBLEMS
from physopt.problems.toy import Toy


@pytest.mark.parametrize("problem", RULE_OPTIONS)
def test_every_entry_names_a_problem_a_rule_and_options_it_has(problem):
    assert problem in PROBLEMS
    for rule, options in RULE_OPTIONS[problem].items():
        assert rule in RULES
        chosen = find("rule", rule)(**options)
        assert any(
            chosen.as_dict()[name] != value for name, value in type(chosen)().as_dict().items()
        )


def test_the_command_line_begins_with_the_table_and_prevails_over_it():
    rule = from_words(["problem=ldft3d", "rule=hig", "rule.damping=0.3"]).rule
    assert isinstance(rule, HalfInverse)
    assert (rule.damping, rule.momentum, rule.max_step_norm) == (0.3, 0.9, 0.1)
    assert from_words(["problem=oscillators", "rule=hig"]).rule == HalfInverse()


def test_a_rule_that_is_named_from_python_has_them_and_one_that_is_given_has_not(tmp_path):
    settings = {"steps": 1, "heldout_size": 4, "batch_size": 4, "out": tmp_path}
    run = physopt.run("sin", "sgd", **settings)
    assert run.config.rule.as_dict()["clip_norm"] == 1.0
    assert suited_options(Toy, HalfInverse) == {}
