"""Commands on one run: run, resume, status, design."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physopt.commands import Command, first_word, plain_help
from physopt.config.help import run_help_text, wrapped
from physopt.config.parse import KINDS, flat_arguments, split_names
from physopt.config.registry import Kind, find
from physopt.config.settings import Settings
from physopt.config.text import from_text, split_values
from physopt.options import NonNegativeInt, OptionError, Options, PositiveFloat, PositiveInt
from physopt.records.reading import shown

if TYPE_CHECKING:
    from physopt.config import RunConfig

_RUN_DESCRIPTION = """
    Train with one rule on one problem, and record the run.

    python -m physopt run problem=ldft2d rule=adam
    python -m physopt run problem=ldft2d rule=sgd rule.momentum=0.5 problem.size=10 seconds=30
    python -m physopt run settings.toml seed=3
    python -m physopt run problem=ldft2d rule=adam --help

    The help of a named problem or rule, as in the last line, includes its own options. `list` shows
    all names. In a TOML file the same keys form tables: [problem] name = "ldft2d", size = 10. The
    same command resumes a run that was interrupted. With record=- the run is read as JSON from
    standard input, in the form of config.json; problem= and rule= then name its classes, if they
    are your own.
"""

_RUN_USAGE = "run [file.toml] problem=NAME rule=NAME [key=value ...]"


def _run(words: list[str]) -> int:
    from physopt.training.display import activity

    with activity() as display:
        from physopt.commands.show import show_run
        from physopt.config import from_words
        from physopt.machine.threads import limit_xla
        from physopt.training.run import begin

        given = dict(word.split("=", 1) for word in words if "=" in word)
        try:
            config = _recorded(words) if "record" in given else from_words(words)
        except OptionError as error:
            if len(split_values(str(error.value))) == 1:
                raise
            reason = f"{error.reason}; `sweep` takes several values of a key"
            raise OptionError(error.owner, error.name, error.value, reason) from None
        limit_xla(config.settings.threads)
        run = begin(config, display)
    return show_run(run.folder)


def _recorded(words: list[str]) -> "RunConfig":
    """Return the config whose record is on standard input."""
    from physopt.config import from_record

    given = flat_arguments(words)
    if (text := given.pop("record")) != "-":
        raise OptionError(object, "record", text, "must be -, for standard input")
    named: dict[Kind, str] = {kind: given.pop(kind) for kind in KINDS if kind in given}
    for key, text in given.items():
        if key not in ("force", "debug", "trust"):
            reason = "record=- takes only force= and debug= and trust= and names beside it"
            raise OptionError(object, key, text, reason)
    for kind, name in named.items():
        find(kind, name)  # imports what the user names, which the record may then name too
    try:
        record = json.load(sys.stdin)
    except (ValueError, RecursionError) as error:
        raise OptionError(object, "record", "-", f"is no JSON: {error}") from None
    trust = from_text(Settings, given).trust
    config = from_record(record if isinstance(record, dict) else {}, trust=trust)
    for key, text in given.items():
        config = config.with_option(key, text)
    return config


def _run_help(words: list[str]) -> str:
    _, problem, rule = split_names(flat_arguments(words), required=False)
    settings = Settings()
    if problem is not None:
        from physopt.config.run_config import suited

        settings = Settings(**suited(problem, {}))
    options = run_help_text(problem, rule, settings)
    return f"usage: python -m physopt {_RUN_USAGE}\n\n{wrapped(_RUN_DESCRIPTION)}\n\n{options}"


@dataclass(frozen=True)
class OpenOptions(Options):
    """How a run is opened."""

    trust: bool = False
    """Import the problem and the rule that the records name, even if they are not part of physopt
    and you do not name them."""

    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class DesignOptions(OpenOptions):
    """How a target is solved with a run."""

    refine: NonNegativeInt | None = None
    """Trials of the refinement of the network's design; 0 leaves it as it is, none takes the
    number of the run's problem, usually 100. 500 take seconds for one design, and fit better."""


@dataclass(frozen=True)
class Extension(OpenOptions):
    """A larger budget for a run."""

    steps: PositiveInt | None = None
    """Total number of updates, including those already made."""

    seconds: PositiveFloat | None = None
    """Total training seconds, including those already spent."""


def _resume(words: list[str]) -> int:
    from physopt.training.display import activity

    folder, rest = first_word(words, "folder", "name the folder of a run")
    more = from_text(Extension, flat_arguments(rest))
    with activity() as display:
        from physopt.commands.show import show_run
        from physopt.machine.threads import limit_xla
        from physopt.records.folder import RunFolder
        from physopt.training.run import resume

        limit_xla(RunFolder(folder).read("config.json").get("threads"))
        done = resume(folder, display=display, **more.as_dict())
    return show_run(done.folder)


def _status(words: list[str]) -> int:
    from physopt.commands.show import show_status

    folder, rest = first_word([*words, "runs/results"], "folder", "")
    if len(rest) > (1 if words else 0):
        raise OptionError(object, "argument", rest[0], "status takes one folder")
    return show_status(folder)


def _design(words: list[str]) -> int:
    from physopt.training.display import activity

    folder, rest = first_word(words, "folder", "name the folder of a run")
    file, rest = first_word(
        rest, "file", "name the file of an isotherm: a table of humidity and water content"
    )
    options = from_text(DesignOptions, flat_arguments(rest))
    with activity():
        from physopt.training.design import design, target_statement
        from physopt.training.run import load

        run, target = load(folder, trust=options.trust), Path(file)
        statements = target_statement(run, target)
    for name, statement in statements.items():
        print(f"read  {name}: {shown(statement)}", flush=True)
    with activity() as display:
        display.phase("applying the network and refining its design" if options.refine != 0
                      else "applying the network")  # fmt: skip
        errors, files = design(run, target, options.refine)
    for name, value in errors.items():
        print(f"{name}  {value:.4g}")
    for path in files:
        print(f"wrote  {path}")
    return 0


RUN = Command(
    _RUN_USAGE,
    "train with one rule on one problem",
    _run,
    _run_help,
    takes_run=True,
)

RESUME = Command(
    "resume FOLDER [steps=N] [seconds=S]",
    "resume a run, up to a larger budget if one is given",
    _resume,
    plain_help(
        "resume FOLDER [steps=N] [seconds=S]",
        "Resume the run in FOLDER; the result is the same as without the interruption. If its\n"
        "problem or rule is your own, add trust=true: the code that the folder names is executed.",
        Extension,
    ),
    Extension,
)

STATUS = Command(
    "status [FOLDER]",
    "show all runs below a folder",
    _status,
    plain_help(
        "status [FOLDER]",
        "Show the status of every run below FOLDER (default: runs/results), and its reason.",
    ),
)

_DESIGN_USAGE = "design FOLDER FILE [key=value ...]"
DESIGN = Command(
    _DESIGN_USAGE,
    "design a matrix for your own isotherm with a trained generator",
    _design,
    plain_help(
        _DESIGN_USAGE,
        """
        Apply the network of a run to a target of your own. The network's matrix is then refined by
        flips of its sites. Prints how the target was read, and the true error of both matrices,
        computed by the converged simulator: area_percent of the network alone,
        area_percent_refined of the refined design. Writes next to FILE the design
        (NAME_design.npy), the network's own (NAME_network.npy), the errors (.json) and a picture of
        both with the target (.png).

        For the LDFT problems FILE is an isotherm:
          a text table, a point a row: separators , ; tab | or spaces, decimal points or commas,
            lines before the table, UTF-8 or UTF-16
          an .xlsx workbook, an AIF file, the JSON of the NIST/ARPA-E database or of pyGAPS
          (.xlsx, AIF and other encodings: pip install physopt[isotherms])
        Headings name columns and units:
          RH (%), p/p0, or a pressure such as p (kPa), with a column p0 (kPa) or a line such as
            'Temperature: 25 °C' or 'Saturation pressure: 3.17 kPa'
          uptake (g/g), (%), (mmol/g), (cm3/g STP) and the like: divided by their maximum
          branch: ads or des; or lines ADS and DES; or columns adsorption and desorption
        A table of two columns needs none: humidity in [0, 1] or [0, 100] %, then water content,
        which is divided by its maximum if that exceeds 1; then desorption, in falling humidity.
        What cannot be read with confidence is refused, with the row and the reason.

        python -m physopt design runs/results/ldft2d/adam/0123456789ab isotherm.csv
        python -m physopt design runs/results/ldft2d/adam/0123456789ab isotherm.csv refine=0
        """,
        DesignOptions,
    ),
    DesignOptions,
)
