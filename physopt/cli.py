"""The command line: `python -m physopt COMMAND [file.toml] key=value ...`.

Each command is a function of its arguments that returns the exit code: 0 success, 1 the run failed
or diverged, 2 wrong arguments, 3 the rule refuses the problem, 75 another process is working on the
run, 130 interrupted. The commands are in physopt.commands.
"""

import io
import shlex
import sys

import physopt
from physopt.commands import (
    Command,
    completion,
    feasibility,
    names,
    race,
    runs,
    scores,
    sweeps,
    watch,
)
from physopt.config.registry import Untrusted
from physopt.machine.failures import explained, own_words
from physopt.machine.output import discarding_lost_output
from physopt.options import OptionError, suggest
from physopt.records.folder import Locked
from physopt.records.reading import shown
from physopt.records.status import LOCKED_EXIT_CODE, failure_status

COMMANDS: dict[str, Command] = {
    "run": runs.RUN,
    "resume": runs.RESUME,
    "sweep": sweeps.SWEEP,
    "tune": sweeps.TUNE,
    "race": race.RACE,
    "status": runs.STATUS,
    "watch": watch.WATCH,
    "score": scores.SCORE,
    "report": scores.REPORT,
    "compare": scores.COMPARE,
    "design": runs.DESIGN,
    "feasibility": feasibility.FEASIBILITY,
    "list": names.LIST,
    "info": names.INFO,
    "check": names.CHECK,
}
COMMANDS["completion"] = completion.command(COMMANDS)


def main(words: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    words = sys.argv[1:] if words is None else words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    with discarding_lost_output() as streams:
        code = _exit_code(words)
    for error in (stream.error for stream in streams):
        if error is not None and not isinstance(error, BrokenPipeError):
            return _fail(f"not all that was printed could be written: {error.strerror}", code or 1)
    return code


def _exit_code(words: list[str]) -> int:
    try:
        return _dispatch(words)
    except OptionError as error:
        value = "" if error.value == "" else f"={error.value}"
        code = LOCKED_EXIT_CODE if isinstance(error, Locked) else 2
        more = ""
        if isinstance(error, Untrusted):
            more = f": python -m physopt {shlex.join([*words, 'trust=true'])}"
        return _fail(f"{error.key}{value}: {error.reason}{more}", code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if "debug=true" in words:
            raise
        if failure_status(text := own_words(error)[:500]) == "interrupted":
            return _fail(f"{text}; the same command goes on when there is room again", 1)
        return _fail(f"{explained(error)[:700]} (debug=true shows the traceback)", 1)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"physopt {physopt.__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise OptionError(object, "command", name, f"unknown command; {suggest(name, COMMANDS)}")
    command = COMMANDS[name]
    arguments = [word for word in rest if word not in ("-h", "--help")]
    if arguments != rest:
        print(command.help(arguments))
        return 0
    return command.call(rest)


def _fail(text: str, code: int) -> int:
    print(f"physopt: {shown(text)}", file=sys.stderr)
    return code


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
