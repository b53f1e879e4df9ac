"""The command line: `python -m physopt COMMAND [file.toml] key=value ...`.

Each command is a function of its arguments that returns the exit code: 0 done, 1 the run failed or
diverged, 2 the arguments are wrong, 3 the rule refuses the problem, 130 interrupted. What is heavy
to import waits inside the commands, so that help comes at once.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from physopt import arguments
from physopt.options import OptionError, Options, PositiveFloat, PositiveInt
from physopt.registry import Kind, find, names, suggest
from physopt.settings import Settings

EXIT_CODES = {"ok": 0, "target": 0, "budget": 0, "skipped": 3, "interrupted": 130}


def main(words: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        return _dispatch(words)
    except OptionError as error:
        value = "" if error.value == "" else f"={error.value}"
        return _complain(f"{error.key}{value}: {error.reason}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe has gone: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "debug=true" in words:
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return _complain(f"{text[:500]} (debug=true shows the traceback)", 1)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise OptionError(object, "command", name, f"unknown command; {suggest(name, COMMANDS)}")
    command = COMMANDS[name]
    asked = [word for word in rest if word not in ("-h", "--help")]
    if asked != rest:
        print(command.help(asked))
        return 0
    return command.call(rest)


def _complain(text: str, code: int) -> int:
    print(f"physopt: {text}", file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    from physopt import experiment
    from physopt.config import RunConfig, suited
    from physopt.progress import display_for_terminal
    from physopt.tables import show_run

    flat, problem, rule = arguments.split_names(arguments.flat_arguments(words))
    given = {key: value for key, value in flat.items() if value != "none"}
    cls = arguments.run_class(problem, rule, Settings(**suited(problem, given)))
    parsed = arguments.parse(cls, flat, "run")
    config = RunConfig(parsed.problem, parsed.rule, parsed.settings)
    return EXIT_CODES.get(show_run(experiment.begin(config, display_for_terminal())), 1)


def _run_help(words: list[str]) -> str:
    flat = {k: v for k, v in arguments.flat_arguments(words).items() if k in ("problem", "rule")}
    _, problem, rule = arguments.split_names(flat, required=False)
    settings = Settings()
    if problem is not None:
        from physopt.config import suited

        settings = Settings(**suited(problem, {}))
    options = arguments.help_text(arguments.run_class(problem, rule, settings), "run")
    return f"usage: python -m physopt {COMMANDS['run'].usage}\n\n{_RUN_DESCRIPTION}\n\n{options}"


@dataclass(frozen=True)
class Extension(Options):
    """A larger budget for a run."""

    steps: PositiveInt | None = None
    """Updates in all, those made already included."""

    seconds: PositiveFloat | None = None
    """Training seconds in all, those spent already included."""

    debug: bool = False
    """Show the traceback of an error."""


def _resume(words: list[str]) -> int:
    from physopt import experiment
    from physopt.progress import display_for_terminal
    from physopt.tables import show_run

    folder, rest = _first(words, "folder", "say which run: its folder")
    more = arguments.parse(Extension, arguments.flat_arguments(rest), "resume")
    display = display_for_terminal()
    done = experiment.resume(folder, steps=more.steps, seconds=more.seconds, display=display)
    return EXIT_CODES.get(show_run(done), 1)


def _status(words: list[str]) -> int:
    from physopt.tables import show_status

    folder, rest = _first([*words, "runs/results"], "folder", "")
    if len(rest) > (1 if words else 0):
        raise OptionError(object, "argument", rest[0], "status takes one folder")
    return show_status(folder)


def _list(words: list[str]) -> int:
    from physopt.tables import show_list

    if words:
        raise OptionError(object, "argument", words[0], "list takes no arguments")
    show_list()
    return 0


def _info(words: list[str]) -> int:
    from physopt.tables import show_info

    name, rest = _first(words, "name", "say which problem or rule; `list` names them")
    if rest:
        raise OptionError(object, "argument", rest[0], "info takes one name")
    show_info(name, *_find_any(name))
    return 0


def _check(words: list[str]) -> int:
    from physopt.check import check
    from physopt.tables import show_findings

    name, rest = _first(words, "name", "say which problem or rule, or file.py:Class")
    _, cls = _find_any(name)
    options = arguments.parse(cls, arguments.flat_arguments(rest), f"check {name}")
    return show_findings(name, check(options))


def _design(words: list[str]) -> int:
    from physopt.results import design, load

    folder, rest = _first(words, "folder", "say which run: its folder")
    table, rest = _first(rest, "file", "say which isotherm: a table of humidity and water content")
    if rest:
        raise OptionError(object, "argument", rest[0], "design takes a run and a file")
    errors, files = design(load(folder), Path(table))
    for name, value in errors.items():
        print(f"{name}  {value:.4g}")
    for file in files:
        print(f"wrote  {file}")
    return 0


def _find_any(name: str) -> tuple[Kind, type]:
    """Find a name among problems and rules."""
    from physopt.rule import UpdateRule

    if ":" not in name:
        both: tuple[Kind, Kind] = ("problem", "rule")
        kinds: list[Kind] = [kind for kind in both if name in names(kind)]
        if not kinds:
            known = [*names("problem"), *names("rule")]
            reason = f"unknown problem or rule; {suggest(name, known)}"
            raise OptionError(object, "name", name, reason)
        return kinds[0], find(kinds[0], name)
    cls = find("problem", name)
    return ("rule" if issubclass(cls, UpdateRule) else "problem"), cls


def _first(words: list[str], key: str, reason: str) -> tuple[str, list[str]]:
    if not words:
        raise OptionError(object, key, "", reason)
    return words[0], words[1:]


@dataclass(frozen=True)
class Command:
    """A command: how it is typed, what it does, the function, and the function of its help."""

    usage: str
    summary: str
    call: Callable[[list[str]], int]
    help: Callable[[list[str]], str]


def _plain_help(usage: str, text: str) -> Callable[[list[str]], str]:
    return lambda words: f"usage: python -m physopt {usage}\n\n{dedent(text).strip()}"


_RUN_DESCRIPTION = dedent("""
    Train with one rule on one problem, and record the run.

    python -m physopt run problem=ldft2d rule=adam
    python -m physopt run problem=ldft2d rule=sgd rule.momentum=0.5 problem.size=10 seconds=30
    python -m physopt run settings.toml seed=3

    A problem's and a rule's own options show when they are named:
    python -m physopt run problem=ldft2d rule=adam --help. `list` names them all. In a TOML file the
    same keys stand in tables: [problem] name = "ldft2d", size = 10. A run that was interrupted goes
    on when the same command is given again.
""").strip()

COMMANDS = {
    "run": Command(
        "run [file.toml] problem=NAME rule=NAME [key=value ...]",
        "train with one rule on one problem",
        _run,
        _run_help,
    ),
    "resume": Command(
        "resume FOLDER [steps=N] [seconds=S]",
        "go on with a run, up to a larger budget if one is given",
        _resume,
        lambda words: (
            "usage: python -m physopt resume FOLDER [steps=N] [seconds=S]\n\n"
            "Go on with the run in FOLDER, as if it had never stopped.\n\n"
            + arguments.help_text(Extension, "resume")
        ),
    ),
    "status": Command(
        "status [FOLDER]",
        "show all runs below a folder",
        _status,
        _plain_help(
            "status [FOLDER]",
            "Show every run below FOLDER (default: runs/results) with its status and reason.",
        ),
    ),
    "design": Command(
        "design FOLDER FILE",
        "let a trained generator answer to your own isotherm",
        _design,
        _plain_help(
            "design FOLDER FILE",
            """
            Let the network of a run answer to a target of your own: for the LDFT problems FILE is a
            table of relative humidity and water content, one point a row. Prints the true error of
            the design, computed by the converged simulator, and writes the design (.npy) and its
            picture (.png) beside FILE.

            python -m physopt design runs/results/ldft2d/adam/0123456789ab isotherm.csv
            """,
        ),
    ),
    "list": Command(
        "list",
        "name all problems and rules",
        _list,
        _plain_help("list", "Name all problems and rules, those of installed plug-ins included."),
    ),
    "info": Command(
        "info NAME",
        "explain a problem or a rule and its options",
        _info,
        _plain_help(
            "info NAME",
            """
            Explain a problem or a rule: equations, source, options and their defaults.

            python -m physopt info ldft2d
            python -m physopt info my_problem.py:MyProblem
            """,
        ),
    ),
    "check": Command(
        "check NAME [option=value ...]",
        "test a problem or a rule, your own plug-in above all",
        _check,
        _plain_help(
            "check NAME [option=value ...]",
            """
            Test what every problem and rule promises, and say in words what is wrong: gradients
            against finite differences, samples independent of one another, the same result for the
            same seed, under jit and under vmap, types kept, an inverse step that helps.

            python -m physopt check my_problem.py:MyProblem size=8
            python -m physopt check my_rule.py:MyRule
            """,
        ),
    ),
}


def _overview() -> str:
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"  {c.usage.ljust(width)}  {c.summary}" for c in COMMANDS.values()]
    return (
        "usage: python -m physopt COMMAND ...\n\n"
        "Compare training schemes for networks that learn through a physics simulator.\n\n"
        + "\n".join(lines)
        + "\n\nStart with:  python -m physopt run problem=ldft2d rule=adam\n"
        "Learn more:  python -m physopt COMMAND --help"
    )
