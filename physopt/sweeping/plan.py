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

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from physopt.config import RunConfig, from_words
from physopt.config.parse import (
    KINDS,
    flat_keys,
    load_toml,
    option_hints,
    run_hints,
    typed_arguments,
)
from physopt.config.registry import Kind, find, names
from physopt.config.settings import Settings
from physopt.config.text import split_values, value_text
from physopt.options import OptionError, suggest

Words = tuple[str, ...]

Layer = dict[str, list[str]]
"""Values of keys, from the top of a file, one of its grids or the command line.

"problem" and "rule" hold names, "rule.tau" an option of all rules of the grid, "rule.hig.tau" one
of hig alone.
"""


class Request(NamedTuple):
    """A requested sweep: layers from the weakest to the strongest."""

    top: Layer
    grids: list[Layer]
    typed: Layer


def read_request(tokens: Sequence[str]) -> Request:
    """Read TOML files and key=value; raise OptionError as `typed_arguments` does."""
    content: dict[str, Any] = {}
    files = [token for token in tokens if token.endswith(".toml") and "=" not in token]
    for file in files:
        content = _merged(content, load_toml(file))
    texts = typed_arguments(token for token in tokens if token not in files)
    typed = {key: split_values(text) for key, text in texts.items()}
    grids = content.pop("grid", [{}])
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise OptionError(object, "grid", grids, "each grid is a table of its own: [[grid]]")
    return Request(_layer(content), [_layer(grid) for grid in grids], typed)


def take(request: Request, own: Sequence[str]) -> dict[str, str]:
    """Remove options that are not part of the grid from a request; return {key: text}.

    Raises OptionError if one is inside a [[grid]] or has several values, and for a key that is
    neither such an option nor one of a run.
    """
    known = {*own, *KINDS, "grid", *option_hints(Settings)}
    for layer in (request.top, *request.grids, request.typed):
        for key, values in layer.items():
            if key.partition(".")[0] not in known:
                reason = f"unknown key; {suggest(key, known)}"
                raise OptionError(object, key, ",".join(values), reason)
    taken = {}
    for key in own:
        for grid in request.grids:
            if key in grid:
                raise OptionError(object, key, ",".join(grid[key]), "belongs above all grids")
        for layer in (request.top, request.typed):
            if key in layer:
                values = layer.pop(key)
                if len(values) != 1:
                    raise OptionError(object, key, ",".join(values), "takes one value")
                taken[key] = values[0]
    return taken


def expand(request: Request) -> list[Words]:
    """Return the words of every run. All runs of one seed precede those of the next.

    Raises OptionError if no problem or rule is left.
    """
    runs: dict[Words, None] = {}
    for grid in request.grids:
        layers = (request.top, grid, request.typed)
        for problem, rule in itertools.product(*(_selected(kind, *layers) for kind in KINDS)):
            runs |= dict.fromkeys(_pair(problem, rule, layers))
    if not runs:
        raise OptionError(object, "grid", "", "no run of the file matches the selected names")
    seeds = list(dict.fromkeys(map(seed_text, runs)))
    return sorted(runs, key=lambda words: seeds.index(seed_text(words)))


def seed_text(words: Words) -> str:
    """Return the word of a run's seed, "" if it has none."""
    return next((word for word in words if word.startswith("seed=")), "")


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


def labels(configs: Sequence[RunConfig]) -> list[str]:
    """Name each run by problem, rule and the options that vary among the runs of both."""
    named = []
    first: dict[Words, dict[str, Any]] = {}
    varying: dict[Words, set[str]] = {}
    for config in configs:
        options = flat_keys(config.record())
        pair: Words = tuple(str(options[kind]).rpartition(":")[2] for kind in KINDS)
        reference = first.setdefault(pair, dict(options))
        # Options that some runs lack, such as those of one optimiser, vary where they exist.
        differing = {k for k, value in options.items() if value != reference.setdefault(k, value)}
        varying.setdefault(pair, set()).update(differing)
        named.append((pair, options))
    return [
        " ".join([*pair, *(f"{k}={value_text(options[k])}" for k in options if k in varying[pair])])
        for pair, options in named
    ]


def _layer(content: Mapping[str, Any]) -> Layer:
    """Return the layer of a TOML table."""
    layer: Layer = {}
    for key, value in content.items():
        if key in KINDS and isinstance(value, dict):
            layer |= _layer_of_kind(key, value)
        elif isinstance(value, dict):
            reason = f"unknown table; {suggest(key, (*KINDS, 'grid'))}"
            raise OptionError(object, key, "", reason)
        else:
            layer[key] = _values(value)
    return layer


def _layer_of_kind(kind: Kind, content: Mapping[str, Any]) -> Layer:
    """Return the layer of {name = ..., option = ...} or {adam = {...}, sip = {...}}."""
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    options = {key: value for key, value in content.items() if key not in tables}
    named = list(tables)
    if "name" in options:  # the options belong to these names alone
        named = _expand_all(kind, _values(options.pop("name")))
        tables |= {name: {**options, **tables.get(name, {})} for name in named}
        options = {}
    layer = {kind: named} if named else {}
    flat = flat_keys({**options, **tables}, f"{kind}.")
    return layer | {key: _values(value) for key, value in flat.items()}


def _expand_all(kind: Kind, values: Iterable[str]) -> list[str]:
    return [name for value in values for name in (names(kind) if value == "all" else [value])]


def _values(value: Any) -> list[str]:
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


def _selected(kind: Kind, top: Layer, grid: Layer, typed: Layer) -> list[str]:
    """Return the names of a grid. Typed names select among those that the grid itself gives."""
    of_top, own, wanted = (_expand_all(kind, layer.get(kind, ())) for layer in (top, grid, typed))
    if own and wanted:
        return [name for name in own if name in wanted]
    selected = wanted or own or of_top
    if not selected:
        known = ", ".join(names(kind))
        raise OptionError(object, kind, "", f"name a {kind}; known: {known}")
    return list(dict.fromkeys(selected))


def _pair(problem: str, rule: str, layers: Sequence[Layer]) -> Iterator[Words]:
    """Yield the words of every run of one problem and one rule."""
    hints = run_hints(find("problem", problem), find("rule", rule))
    grid: Layer = {}
    for layer in layers:
        grid |= {key: layer[key] for key in layer if key.partition(".")[0] not in KINDS}
        for kind, name in zip(KINDS, (problem, rule), strict=True):
            mentioned = (other for each in layers for other in each.get(kind, ()))
            grid |= _options(layer, kind, name, {*names(kind), *mentioned})
    for key, values in grid.items():
        if _is_list(hints.get(key)) and not any(value.startswith("[") for value in values):
            grid[key] = ["[" + ",".join(values) + "]"]  # one list, not a grid of its entries
    first = (f"problem={problem}", f"rule={rule}")
    for values in itertools.product(*grid.values()):
        yield (*first, *(f"{key}={value}" for key, value in zip(grid, values, strict=True)))


def _options(layer: Layer, kind: Kind, name: str, known: Iterable[str]) -> Layer:
    """Return the options that a layer has for one name: those of all names, then its own."""
    shared, own = {}, {}
    for key, values in layer.items():
        if key.startswith(f"{kind}."):
            owners = [other for other in known if key.startswith(f"{kind}.{other}.")]
            owner = max(owners, key=len, default=None)
            if owner is None:
                shared[key] = values
            elif owner == name:
                own[f"{kind}." + key.removeprefix(f"{kind}.{name}.")] = values
    return shared | own


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(_is_list(inner) for inner in get_args(hint))
