"""Build the API reference from the docstrings; every warning of pdoc is an error.

pip install -e ".[docs]" && python .ci/api_reference.py            build/api/index.html
python .ci/api_reference.py FOLDER                                  another folder
"""

import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import physopt


def expose(name: str) -> None:
    """Import a package and its subpackages, and list their names and modules for pdoc.

    pdoc documents the names in a module's dict and in its __all__. Some packages import their names
    on demand, and their __all__ lists no modules.
    """
    package = importlib.import_module(name)
    offered = list(getattr(package, "__all__", ()))
    for attribute in offered:
        setattr(package, attribute, getattr(package, attribute))
    below = [found.name for found in pkgutil.iter_modules(package.__path__)]
    if offered:
        public = [module for module in below if not module.startswith("_")]
        package.__all__ = [*offered, *(module for module in public if module not in offered)]
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        if found.ispkg:
            expose(found.name)


def main(out: Path) -> None:
    """Write the pages of all modules to a folder."""
    pdoc.render.configure(show_source=False)  # highlighting takes most of the time
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # The generated constructor of a NamedTuple lacks the names of its module.
        warnings.filterwarnings("ignore", r"Error parsing type annotation .*\.__init__\. Import of")
        # An annotation by a library of an extra that is not installed stays a name.
        optional = r"Failed to run TYPE_CHECKING code .* No module named 'e3nn_jax'"
        warnings.filterwarnings("ignore", optional)
        expose(physopt.__name__)
        pdoc.pdoc(physopt.__name__, output_directory=out)
    print(f"wrote  {out / 'index.html'}  ({sum(1 for _ in out.rglob('*.html'))} pages)")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["build/api"]))
