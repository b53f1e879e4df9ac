"""Help: the options of a class with their types, defaults and docstrings, formatted by tyro.

tyro is imported only to format a help text: it takes longer to load than a command to start.
"""

import contextlib
import dataclasses
import io
import re
from typing import Annotated, Any

from physopt.config.presets import suited_options
from physopt.config.settings import Settings


def help_text(cls: type, command: str) -> str:
    """Return the help of an option class in the key=value form that is typed.

    It begins with the class's docstring; usage and examples are added by the command.
    """
    import tyro

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        tyro.cli(
            cls,
            args=["--help"],
            prog=f"python -m physopt {command}",
            config=(tyro.conf.FlagConversionOff,),
            use_underscores=True,
        )
    options = out.getvalue().partition("\n\n")[2]
    own_help = r"(?m)^\W*-h, --help\b(.*\n)(\s+show this help.*\n)?"
    return _as_typed(re.sub(own_help, "", options)).rstrip()


def run_help_text(problem: type | None, rule: type | None, settings: Settings) -> str:
    """Return the help of a run: settings with these defaults, then both classes' options.

    The rule's defaults are those that suit the problem.
    """
    import tyro

    sections: list[Any] = [] if problem is None else [("problem", problem)]
    if rule is not None:
        suited = {} if problem is None else suited_options(problem, rule)
        default = [dataclasses.field(default=rule(**suited))] if suited else []
        sections.append(("rule", rule, *default))
    without_prefix = Annotated[Settings, tyro.conf.arg(name="")]
    sections.append(("settings", without_prefix, dataclasses.field(default=settings)))
    run = dataclasses.make_dataclass("Run", sections, frozen=True, kw_only=True)
    return help_text(run, "run")


def _as_typed(text: str) -> str:
    """Rewrite tyro's `--key TYPE` as `key=TYPE`, keeping the columns."""

    def rewrite(match: re.Match[str]) -> str:
        key, kind = match.group(1), match.group(2)
        kind = kind.replace("{True,False}", "true|false").replace("{None}", "none")
        kind = kind.replace("{None,", "{none,")
        kind = re.sub(r"^\[(\w+) \[\1 \.\.\.\]\]$", r"[\1,...]", kind)
        return f"{key}={kind}".ljust(len(match.group(0)))

    rewritten = re.sub(r"--([\w.]+) (\[[^\]]*\]\]|\S+)", rewrite, text)
    return rewritten.replace("(default: None)", "(default: none)")
