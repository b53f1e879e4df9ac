"""Completion: the words that are offered for a line, and a shell that uses them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from physopt.cli import COMMANDS, main
from physopt.commands.completion import SCRIPTS, candidates

TINY = f"{Path(__file__).resolve().parent / 'tiny.py'}:Tiny"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("physopt re", ["report ", "resume "]),
        ("physopt  run  steps", ["steps="]),
        ("physopt run problem=ldft2", ["problem=ldft2d "]),
        ("physopt run rule=li", ["rule=lion "]),
        ("physopt sweep rule=adam,hi", ["rule=adam,hig "]),
        ("physopt run device=", [f"device={name} " for name in ("cpu", "gpu", "none", "tpu")]),
        ("physopt run force=t", ["force=true "]),
        ("physopt run problem=toy problem.", ["problem.gamma=", "problem.hidden="]),
        ("physopt run problem=toy pro", ["problem.", "problem=", "profile="]),
        ("physopt run problem=nowhere problem.", []),
        ("physopt run problem.", []),
        ("physopt sweep retries", ["retries="]),
        ("physopt run retries", []),
        ("physopt info ldft2", ["ldft2d "]),
        ("physopt info ldft2d l", []),
        ("physopt score ax", ["axis="]),
        ("physopt score axis=c", ["axis=calls "]),
        ("physopt runn pro", []),
        ("physopt status runs", []),
    ],
)  # fmt: skip
def test_a_line_is_completed(line, expected):
    assert candidates(line, COMMANDS) == expected


def test_no_file_of_the_users_is_run():
    assert candidates(f"physopt run problem={TINY} problem.", COMMANDS) == []


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "bsh"]) == 2
    assert "did you mean bash?" in capsys.readouterr().err


ASKED = 'physopt() {{ "{python}" -m physopt "$@"; }}\n'
IN_BASH = """
COMP_LINE="physopt run problem=ldft2" COMP_POINT=25
_physopt physopt ldft2 =
printf '<%s>' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_replaces_what_follows_the_equals_sign():
    script = f"{ASKED.format(python=sys.executable)}{SCRIPTS['bash']}\n{IN_BASH}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "<ldft2d >"
