"""Plan: from what a user writes about a sweep to the list of its runs.

On the command line commas outside brackets make a grid: rule=adam,sip seed=0,1,2. A TOML file says
the same with lists, and holds options for one problem or rule alone:

    seed = [0, 1, 2]
    problem = ["ldft2d", "poisson"]

    [rule.adam]
    learning_rate = [1e-3, 1e-2]

    [rule.hig]
    tau = 1e-5

The tables name the rules of the grid; where `rule = [...]` names them, [rule] may hold no table. A
file may also be a union of grids: each [[grid]] is one, over what stands above it, and what is
typed prevails over all. problem= and rule= on the command line choose among the file's. `all`
stands for every known name.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from physopt.config import RunConfig, from_words
from physopt.config.parse import flat_keys, load_toml, option_hints
from physopt.config.registry import Kind, find, names
from physopt.config.text import value_text
from physopt.options import OptionError, suggest

KINDS: tuple[Kind, Kind] = ("problem", "rule")
Values = list[str]


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run of a plan: what would be typed after `python -m physopt run`, and what it means."""

    words: tuple[str, ...]
    config: RunConfig


@dataclasses.dataclass
class Layer:
    """One source of values: a file's top, one of its grids, or what is typed."""

    settings: dict[str, Values] = dataclasses.field(default_factory=dict)
    names: dict[Kind, Values] = dataclasses.field(default_factory=dict)
    shared: dict[Kind, dict[str, Values]] = dataclasses.field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    """Options of every problem or rule of the grid."""
    own: dict[Kind, dict[str, dict[str, Values]]] = dataclasses.field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    """Options of one problem or rule alone."""

    def options(self, kind: Kind, name: str) -> dict[str, Values]:
        """Return the options for one name, the shared ones first."""
        merged = {**self.shared[kind], **self.own[kind].get(name, {})}
        return {f"{kind}.{option}": values for option, values in merged.items()}


@dataclasses.dataclass
class Request:
    """What a user asks for: layers of values from weakest to strongest, and the grids."""

    top: Layer
    grids: list[Layer]
    typed: Layer


def read_request(tokens: Sequence[str]) -> Request:
    """Read TOML files and key=value; raise OptionError for a token of another form."""
    content: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for token in tokens:
        key, equals, value = token.removeprefix("--").partition("=")
        if equals:
            typed[key] = value
        elif token.endswith(".toml"):
            content = _merged(content, load_toml(token))
        else:
            reason = "expected key=value or a .toml file"
            raise OptionError(object, "argument", token, reason)
    grids = content.pop("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise OptionError(object, "grid", grids, "each grid is a table of its own: [[grid]]")
    return Request(_layer_of_tables(content), list(map(_layer_of_tables, grids)), _typed(typed))


def take(request: Request, keys: Sequence[str]) -> dict[str, str]:
    """Take settings that are no part of the grid out of a request: {key: text}.

    Raises OptionError where one stands in a grid or has several values.
    """
    taken = {}
    for layer in (request.top, request.typed):
        for key in keys:
            if key in layer.settings:
                values = layer.settings.pop(key)
                if len(values) != 1:
                    raise OptionError(object, key, ",".join(values), "takes one value")
                taken[key] = values[0]
    for key in keys:
        for layer in request.grids:
            if key in layer.settings:
                raise OptionError(object, key, layer.settings[key], "stands above all grids")
    return taken


def expand(request: Request) -> list[tuple[str, ...]]:
    """Return the words of every run. All runs of one seed come before those of the next.

    Raises OptionError where no problem or rule is left.
    """
    found: dict[tuple[str, ...], None] = {}
    for grid in request.grids:
        layers = (request.top, grid, request.typed)
        problems, rules = (_chosen(kind, *layers) for kind in KINDS)
        for problem, rule in itertools.product(problems, rules):
            found |= dict.fromkeys(_pair(problem, rule, layers))
    if not found:
        raise OptionError(object, "grid", "", "no run is left of what the file names")
    seeds = {words: i for i, words in enumerate(dict.fromkeys(_seed(words) for words in found))}
    return sorted(found, key=lambda words: seeds[_seed(words)])


def planned_runs(request: Request) -> list[PlannedRun]:
    """Return every run of a request, checked, none twice.

    Raises OptionError for the first run that cannot be, and says which.
    """
    runs: dict[str, PlannedRun] = {}
    parsed: dict[tuple[str, ...], RunConfig] = {}  # by all but the seed: parsing takes a while
    for words in expand(request):
        seed = _seed(words)
        others = tuple(word for word in words if word != seed)
        try:
            if others in parsed and seed.removeprefix("seed=").isdecimal():
                alike = parsed[others]
                settings = alike.settings.replace(seed=int(seed.removeprefix("seed=")))
                config = dataclasses.replace(alike, settings=settings)
            else:
                config = parsed[others] = from_words(list(words))
        except OptionError as error:
            reason = f"{error.reason} (in the run {' '.join(words[:2])})"
            raise OptionError(error.owner, error.name, error.value, reason) from None
        runs.setdefault(
            json.dumps(config.record(), sort_keys=True, default=str), PlannedRun(words, config)
        )
    return list(runs.values())


def labels(runs: Sequence[PlannedRun]) -> list[str]:
    """Name each run by its problem, its rule and what is not the same in all runs."""
    common = set.intersection(*(set(run.words[2:]) for run in runs)) if len(runs) > 1 else set()
    short = ([word.partition("=")[2].rpartition(":")[2] for word in run.words[:2]] for run in runs)
    return [
        " ".join([*names, *(word for word in run.words[2:] if word not in common)])
        for names, run in zip(short, runs, strict=True)
    ]


def split_values(text: str) -> Values:
    """Split at the commas outside brackets: "1,2" -> 1 and 2; "[1,2],[3]" -> [1,2] and [3]."""
    values, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def _typed(typed: Mapping[str, str]) -> Layer:
    layer = Layer()
    for kind in KINDS:
        if kind in typed:
            layer.names[kind] = _known_names(kind, split_values(typed[kind]))
    for key, text in typed.items():
        kind: Kind | None = next((k for k in KINDS if key.startswith(f"{k}.")), None)
        if kind is None:
            if key not in KINDS:
                layer.settings[key] = split_values(text)
            continue
        option = key.removeprefix(f"{kind}.")
        known = sorted({*names(kind), *layer.names.get(kind, [])}, key=len, reverse=True)
        owner = next((n for n in known if option.startswith(f"{n}.")), None)
        if owner is None:
            layer.shared[kind][option] = split_values(text)
        else:
            own = layer.own[kind].setdefault(owner, {})
            own[option.removeprefix(f"{owner}.")] = split_values(text)
    return layer


def _layer_of_tables(content: Mapping[str, Any]) -> Layer:
    layer = Layer()
    for key, value in content.items():
        if key in KINDS:
            _read_kind(layer, key, value)
        elif isinstance(value, dict):
            reason = f"no table is called so; {suggest(key, (*KINDS, 'grid'))}"
            raise OptionError(object, key, "", reason)
        else:
            layer.settings[key] = _values(value)
    return layer


def _read_kind(layer: Layer, kind: Kind, value: Any) -> None:
    """Read "adam", ["adam", "sip"], {name = ..., option = ...} or {adam = {...}, sip = {...}}."""
    if not isinstance(value, dict):
        layer.names[kind] = _known_names(kind, _values(value))
        return
    tables = {name: table for name, table in value.items() if isinstance(table, dict)}
    options = {name: _values(given) for name, given in value.items() if name not in tables}
    if "name" in options:
        layer.names[kind] = _known_names(kind, options.pop("name"))
        layer.own[kind] = dict.fromkeys(layer.names[kind], options)
    else:
        layer.shared[kind] = options
        if tables:
            layer.names[kind] = _known_names(kind, list(tables))
    for name, table in tables.items():
        flat = {key: _values(given) for key, given in flat_keys(table).items()}
        layer.own[kind][name] = {**layer.own[kind].get(name, {}), **flat}


def _known_names(kind: Kind, given: Values) -> Values:
    return [name for word in given for name in (names(kind) if word == "all" else [word])]


def _values(value: Any) -> Values:
    return [value_text(item) for item in (value if isinstance(value, list) else [value])]


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return two files as one: the second prevails, tables are merged, grids are joined."""
    merged = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            merged[key] = _merged(first[key], second[key])
        elif key == "grid":
            merged[key] = [*first[key], *second[key]]
    return merged


def _chosen(kind: Kind, top: Layer, grid: Layer, typed: Layer) -> Values:
    """Return the names of a grid. Those that are typed choose among those that a grid gives."""
    own, wanted = grid.names.get(kind), typed.names.get(kind)
    if own is not None and wanted is not None:
        return [name for name in own if name in wanted]
    chosen = wanted or own or top.names.get(kind)
    if not chosen:
        known = ", ".join(names(kind))
        raise OptionError(object, kind, "", f"say which {kind}; known: {known}")
    return list(dict.fromkeys(chosen))


def _pair(problem: str, rule: str, layers: Sequence[Layer]) -> Iterator[tuple[str, ...]]:
    """Yield the words of every run of one problem and one rule."""
    hints: dict[str, Any] = {}
    for kind, name in zip(KINDS, (problem, rule), strict=True):
        hints |= option_hints(find(kind, name), f"{kind}.")
    grid: dict[str, Values] = {}
    for layer in layers:
        grid |= layer.settings
        grid |= layer.options("problem", problem) | layer.options("rule", rule)
    for key, values in grid.items():
        if _is_list(hints.get(key)) and not any(value.startswith("[") for value in values):
            grid[key] = ["[" + ",".join(values) + "]"]  # one list, not a grid of its entries
    first = (f"problem={problem}", f"rule={rule}")
    for values in itertools.product(*grid.values()):
        yield (*first, *(f"{key}={value}" for key, value in zip(grid, values, strict=True)))


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(_is_list(inner) for inner in get_args(hint))


def _seed(words: Sequence[str]) -> str:
    return next((word for word in words if word.startswith("seed=")), "")
