"""Plan: from what a user writes about a sweep to the configs of its runs.

On the command line commas outside brackets make a grid: rule=adam,sip seed=0,1,2. In a TOML file
lists do, and tables hold options of one problem or rule alone:

    seed = [0, 1, 2]
    problem = ["ldft2d", "poisson"]

    [rule.adam]
    learning_rate = [1e-3, 1e-2]

    [rule.hig]
    tau = 1e-5

The tables name the rules of the grid; with `rule = [...]`, [rule] may hold no table. A file may
also be a union of grids: each [[grid]] inherits the keys above it. The command line overrides the
file; its problem= and rule= select among the file's names. `all` stands for every known name.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from physopt.config import RunConfig, from_words
from physopt.config.parse import KINDS, flat_keys, load_toml, run_hints
from physopt.config.registry import Kind, find, name_of, names
from physopt.config.text import split_values, value_text
from physopt.options import OptionError, suggest

Values = list[str]
Words = tuple[str, ...]


@dataclasses.dataclass
class Layer:
    """One source of values: the top of a file, one of its grids, or the command line."""

    settings: dict[str, Values] = dataclasses.field(default_factory=dict)
    names: dict[Kind, Values] = dataclasses.field(default_factory=dict)
    shared: dict[Kind, dict[str, Values]] = dataclasses.field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    """Options of all problems or all rules of the grid."""
    own: dict[Kind, dict[str, dict[str, Values]]] = dataclasses.field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    """Options of one problem or one rule."""

    def options(self, kind: Kind, name: str) -> dict[str, Values]:
        """Return the options of one name, the shared ones first."""
        merged = {**self.shared[kind], **self.own[kind].get(name, {})}
        return {f"{kind}.{option}": values for option, values in merged.items()}


@dataclasses.dataclass
class Request:
    """A requested sweep: layers of values from the weakest to the strongest."""

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
    """Remove settings that are not part of the grid from a request; return {key: text}.

    Raises OptionError if one is inside a [[grid]] or has several values.
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
                raise OptionError(object, key, layer.settings[key], "belongs above all grids")
    return taken


def expand(request: Request) -> list[Words]:
    """Return the words of every run. All runs of one seed precede those of the next.

    Raises OptionError if no problem or rule is left.
    """
    runs: dict[Words, None] = {}
    for grid in request.grids:
        layers = (request.top, grid, request.typed)
        problems, rules = (_selected(kind, *layers) for kind in KINDS)
        for problem, rule in itertools.product(problems, rules):
            runs |= dict.fromkeys(_pair(problem, rule, layers))
    if not runs:
        raise OptionError(object, "grid", "", "no run of the file matches the selected names")
    seeds = {seed: i for i, seed in enumerate(dict.fromkeys(map(_seed, runs)))}
    return sorted(runs, key=lambda words: seeds[_seed(words)])


def planned_runs(request: Request) -> list[RunConfig]:
    """Return the config of every run of a request, without duplicates.

    Raises OptionError for the first invalid run, which the message names.
    """
    return list(dict.fromkeys(map(config_of, expand(request))))


def config_of(words: Words) -> RunConfig:
    """Return the config of a run; an OptionError names its problem and rule."""
    try:
        return from_words(list(words))
    except OptionError as error:
        reason = f"{error.reason} (in the run {' '.join(words[:2])})"
        raise OptionError(error.owner, error.name, error.value, reason) from None


def short_names(config: RunConfig) -> tuple[str, str]:
    """Return the names of problem and rule, without the module of a plug-in."""
    problem, rule = name_of("problem", type(config.problem)), name_of("rule", type(config.rule))
    return problem.rpartition(":")[2], rule.rpartition(":")[2]


def labels(configs: Sequence[RunConfig]) -> list[str]:
    """Name each run by problem, rule and the options that vary among the runs of both."""
    names, options = list(map(short_names, configs)), list(map(_options, configs))
    values: dict[tuple[tuple[str, str], str], set[Any]] = {}
    for pair, of_run in zip(names, options, strict=True):
        for key, value in of_run.items():
            values.setdefault((pair, key), set()).add(value)
    texts = []
    for pair, of_run in zip(names, options, strict=True):
        varying = (key for key in of_run if len(values[pair, key]) > 1)
        texts.append(" ".join([*pair, *(f"{k}={value_text(of_run[k])}" for k in varying)]))
    return texts


def _options(config: RunConfig) -> dict[str, Any]:
    """Return {key: value} of all options of a run."""
    parts = {"problem.": config.problem, "rule.": config.rule, "": config.settings}
    return {
        prefix + field.name: getattr(part, field.name)
        for prefix, part in parts.items()
        for field in dataclasses.fields(part)
    }


def _typed(typed: Mapping[str, str]) -> Layer:
    layer = Layer()
    for kind in KINDS:
        if kind in typed:
            layer.names[kind] = _expand_all(kind, split_values(typed[kind]))
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
            reason = f"unknown table; {suggest(key, (*KINDS, 'grid'))}"
            raise OptionError(object, key, "", reason)
        else:
            layer.settings[key] = _values(value)
    return layer


def _read_kind(layer: Layer, kind: Kind, value: Any) -> None:
    """Read "adam", ["adam", "sip"], {name = ..., option = ...} or {adam = {...}, sip = {...}}."""
    if not isinstance(value, dict):
        layer.names[kind] = _expand_all(kind, _values(value))
        return
    tables = {name: table for name, table in value.items() if isinstance(table, dict)}
    options = {name: _values(given) for name, given in value.items() if name not in tables}
    if "name" in options:
        layer.names[kind] = _expand_all(kind, options.pop("name"))
        layer.own[kind] = dict.fromkeys(layer.names[kind], options)
    else:
        layer.shared[kind] = options
        if tables:
            layer.names[kind] = _expand_all(kind, list(tables))
    for name, table in tables.items():
        flat = {key: _values(given) for key, given in flat_keys(table).items()}
        layer.own[kind][name] = {**layer.own[kind].get(name, {}), **flat}


def _expand_all(kind: Kind, values: Values) -> Values:
    return [name for value in values for name in (names(kind) if value == "all" else [value])]


def _values(value: Any) -> Values:
    return [value_text(item) for item in (value if isinstance(value, list) else [value])]


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Merge two files: the second overrides, tables are merged, grids are concatenated."""
    merged = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            merged[key] = _merged(first[key], second[key])
        elif key == "grid":
            merged[key] = [*first[key], *second[key]]
    return merged


def _selected(kind: Kind, top: Layer, grid: Layer, typed: Layer) -> Values:
    """Return the names of a grid. Typed names select among those that the grid itself gives."""
    own, wanted = grid.names.get(kind), typed.names.get(kind)
    if own is not None and wanted is not None:
        return [name for name in own if name in wanted]
    selected = wanted or own or top.names.get(kind)
    if not selected:
        known = ", ".join(names(kind))
        raise OptionError(object, kind, "", f"name a {kind}; known: {known}")
    return list(dict.fromkeys(selected))


def _pair(problem: str, rule: str, layers: Sequence[Layer]) -> Iterator[Words]:
    """Yield the words of every run of one problem and one rule."""
    hints = run_hints(find("problem", problem), find("rule", rule))
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


def _seed(words: Words) -> str:
    return next((word for word in words if word.startswith("seed=")), "")
