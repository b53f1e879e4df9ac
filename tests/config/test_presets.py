"""Options of rules that a problem declares: valid, inherited, and the user prevails over them."""

import dataclasses

import pytest

import physopt
from physopt.config import from_words
from physopt.config.presets import suited_options
from physopt.config.registry import find
from physopt.optimizers import RULES
from physopt.optimizers.first_order import SGD
from physopt.optimizers.spectral import HalfInverse
from physopt.problems import PROBLEMS
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.toy import Toy

DECLARING = [name for name in PROBLEMS if find("problem", name).rule_defaults]


@pytest.mark.parametrize("problem", DECLARING)
def test_every_entry_names_a_rule_and_options_it_has(problem):
    for rule, options in find("problem", problem).rule_defaults.items():
        assert rule in RULES
        chosen = find("rule", rule)(**options)
        assert any(
            chosen.as_dict()[name] != value for name, value in type(chosen)().as_dict().items()
        )


def test_the_command_line_begins_with_them_and_prevails_over_them():
    rule = from_words(["problem=ldft3d", "rule=hig", "rule.damping=0.3"]).rule
    assert isinstance(rule, HalfInverse)
    assert (rule.damping, rule.momentum, rule.max_step_norm) == (0.3, 0.9, 0.1)
    assert from_words(["problem=oscillators", "rule=hig"]).rule == HalfInverse()


def test_another_name_keeps_them_and_a_plug_in_declares_its_own():
    @dataclasses.dataclass(frozen=True)
    class Renamed(LDFT2D):
        pass

    @dataclasses.dataclass(frozen=True)
    class Declaring(Toy):
        rule_defaults = {"sgd": {"clip_norm": 0.5}}  # noqa: RUF012

    assert suited_options(Renamed, HalfInverse) == suited_options(LDFT2D, HalfInverse) != {}
    assert suited_options(Declaring, SGD) == {"clip_norm": 0.5}


def test_a_rule_that_is_named_from_python_has_them_and_one_that_is_given_has_not(tmp_path):
    settings = {"steps": 1, "heldout_size": 4, "batch_size": 4, "out": tmp_path}
    run = physopt.run("sin", "sgd", **settings)
    assert run.config.rule.as_dict()["clip_norm"] == 1.0
    assert suited_options(Toy, HalfInverse) == {}
