"""Scripts: options, help and exit codes as the commands have them."""

from dataclasses import dataclass

import pytest

from physopt.options import OptionError, Options, PositiveInt
from physopt.script import script


@dataclass(frozen=True)
class Choice(Options):
    """What is made."""

    count: PositiveInt = 3
    """How many."""


def test_work_is_done_with_the_options_that_are_typed():
    seen = []
    assert script(Choice, seen.append, "About.", ["count=5"]) == 0
    assert seen == [Choice(5)]
    assert script(Choice, lambda options: options.count, None, []) == 3


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_has_docstring_and_options_and_does_nothing(word, capsys):
    assert script(Choice, pytest.fail, "\nAbout it.\n", ["count=5", word]) == 0
    out = capsys.readouterr().out
    assert out.startswith("About it.\n\nWhat is made.")
    assert "count=" in out
    assert "How many. (default: 3)" in " ".join(out.split())


def test_what_is_wrong_is_said_on_one_line(capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    def refused(options):
        raise OptionError(Choice, "count", options.count, "too many")

    assert script(Choice, pytest.fail, "", ["cuont=5"]) == 2
    assert script(Choice, pytest.fail, "", ["count=0"]) == 2
    assert script(Choice, refused, "", []) == 2
    assert script(Choice, interrupted, "", []) == 130
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first.startswith("cuont=5: unknown key")
    assert second.startswith("count=0:")
    assert (third, fourth) == ("count=3: too many", "interrupted")
