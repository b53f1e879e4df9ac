"""Dense layers found in a function's jaxpr: which parameters enter in one matrix product only.

The network need not cooperate. The jaxpr of one sample's outputs is read once; where a parameter
leaf's only use is one `dot_general` without batch dimensions, that product z is a dense layer with
the leaf as its kernel. Evaluating the jaxpr with a zero added to z gives dy/dz as the derivative in
that zero, and the product's other operand on the way.

Leaves used in any other way are left to the caller: shared weights, convolutions, normalisation
scales, whatever enters loops, branches or custom derivative rules.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

Outputs = Callable[[Any, Any], Any]  # (params, sample) -> y, for one sample; y any pytree

# Rearranging a kernel's elements permutes the columns of J, which leaves J J^T as it is.
_REARRANGING = {"convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose"}
# Calls that mean nothing more than their body. A custom derivative rule does, and stays closed.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}


@dataclasses.dataclass(frozen=True)
class ParameterSplit:
    """Names of the parameter leaves: parts of dense layers, all others, and those never used."""

    layerwise: tuple[str, ...]
    explicit: tuple[str, ...]
    unused: tuple[str, ...]


class DenseProduct(NamedTuple):
    """The only use of a kernel leaf, z = dot_general(input, kernel) or with operands exchanged."""

    kernel: int  # leaf number
    path: tuple[int, ...]  # equation number, after those of the calls around it
    side: int  # which operand the kernel is
    contracted: tuple[int, ...]  # axes of the input that are summed over
    positions: int  # T, the size of the input's other axes
    shape: tuple[int, ...]  # of z
    dtype: Any


class DenseProducts(NamedTuple):
    """What is known of `outputs` before any number is."""

    jaxpr: jex.ClosedJaxpr  # (parameter leaves..., sample leaves...) -> flat y
    products: tuple[DenseProduct, ...]
    biased: frozenset[int]  # kernels whose product has T = 1 and a bias added
    explicit: tuple[int, ...]  # leaves used in another way
    split: ParameterSplit


class _Bias(NamedTuple):
    """The only use of a bias leaf: added, one element to one, to what only it sees of a product."""

    kernel: int


_Use = DenseProduct | _Bias | None  # None: any other use


def find_dense_products(outputs: Outputs, params: Any, samples: Any) -> DenseProducts:
    """Read the jaxpr of outputs(params, sample) for one sample of `samples` [batch, ...].

    Raises ValueError for parameters that are not real floating and for samples without arrays.
    """
    named, tree = jax.tree.flatten_with_path(params)
    names = [jax.tree_util.keystr(path) for path, _ in named]
    for name, (_, leaf) in zip(names, named, strict=True):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"parameter {name} is not real floating")
    if not jax.tree.leaves(samples):
        raise ValueError("samples has no arrays, so the batch has no size")

    def flat(leaves: list[Any], sample: Any) -> Array:
        return ravel_pytree(outputs(tree.unflatten(leaves), sample))[0]

    one = jax.eval_shape(lambda s: jax.tree.map(lambda a: a[0], s), samples)
    jaxpr = jax.make_jaxpr(flat)([leaf for _, leaf in named], one)
    uses = _uses_by_leaf(jaxpr.jaxpr, len(named))

    single = [use[0] if len(use) == 1 else None for use in uses]
    products = tuple(use for use in single if isinstance(use, DenseProduct))
    kernels = {product.kernel for product in products}
    bias = {i: u.kernel for i, u in enumerate(single) if isinstance(u, _Bias)}
    bias = {i: kernel for i, kernel in bias.items() if kernel in kernels}
    layerwise = sorted(kernels | bias.keys())
    explicit = tuple(i for i, use in enumerate(uses) if use and i not in layerwise)
    unused = [i for i, use in enumerate(uses) if not use]
    split = (tuple(names[i] for i in group) for group in (layerwise, explicit, unused))
    return DenseProducts(
        jaxpr, products, frozenset(bias.values()), explicit, ParameterSplit(*split)
    )


def _uses_by_leaf(jaxpr: jex.Jaxpr, count: int) -> list[list[_Use]]:
    others = len(jaxpr.invars) - count
    found, leaving = _uses(jaxpr, [*range(count), *[None] * others], ())
    uses: list[list[_Use]] = [[] for _ in range(count)]
    for leaf, use in [*found, *((leaf, None) for leaf in leaving if leaf is not None)]:
        uses[leaf].append(use)
    return uses


def _uses(
    jaxpr: jex.Jaxpr, entering: Sequence[int | None], path: tuple[int, ...]
) -> tuple[list[tuple[int, _Use]], list[int | None]]:
    """Every use of the leaves that enter a jaxpr, and which leaves it returns unused."""
    atoms = [*(atom for eqn in jaxpr.eqns for atom in eqn.invars), *jaxpr.outvars]
    occurrences = Counter(atom for atom in atoms if isinstance(atom, jex.Var))
    leaf_of = {v: leaf for v, leaf in zip(jaxpr.invars, entering, strict=True) if leaf is not None}
    product_of: dict[jex.Var, DenseProduct] = {}
    found: list[tuple[int, _Use]] = []

    def leaf(atom: Any) -> int | None:
        return leaf_of.get(atom) if isinstance(atom, jex.Var) else None

    for number, eqn in enumerate(jaxpr.eqns):
        tags = [leaf(atom) for atom in eqn.invars]
        leaves = [tag for tag in tags if tag is not None]
        if not leaves:
            continue
        out, here = eqn.outvars[0], (*path, number)
        if eqn.primitive.name in _REARRANGING and jnp.issubdtype(_aval(out).dtype, jnp.floating):
            leaf_of[out] = leaves[0]
        elif (body := _body(eqn)) is not None:
            inner, leaving = _uses(body[0], tags, here)
            found += inner
            leaf_of |= {v: t for v, t in zip(eqn.outvars, leaving, strict=True) if t is not None}
        elif (product := _product(eqn, tags, here)) is not None:
            found.append((product.kernel, product))
            product_of[out] = product
        else:
            bias = _bias(eqn, tags, product_of, occurrences)
            found += [(tag, bias) for tag in leaves]
    return found, [leaf(atom) for atom in jaxpr.outvars]


def _body(eqn: jex.JaxprEqn) -> tuple[jex.Jaxpr, Sequence[Any]] | None:
    """The jaxpr and constants of a plain call, None for any other equation."""
    if eqn.primitive.name not in _CALLS:
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(inner, jex.ClosedJaxpr):
        return inner.jaxpr, inner.consts
    return (inner, ()) if isinstance(inner, jex.Jaxpr) and not inner.constvars else None


def _product(
    eqn: jex.JaxprEqn, tags: Sequence[int | None], path: tuple[int, ...]
) -> DenseProduct | None:
    """The dense layer that an equation is, with exactly one operand a leaf; None if it is none."""
    if eqn.primitive.name != "dot_general" or None not in tags:
        return None
    contracted, batch = eqn.params["dimension_numbers"]
    if batch != ((), ()):
        return None
    side = tags.index(None) ^ 1
    kernel = tags[side]
    assert kernel is not None
    axes, shape = tuple(contracted[1 - side]), _aval(eqn.invars[1 - side]).shape
    positions = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
    z = _aval(eqn.outvars[0])
    return DenseProduct(kernel, path, side, axes, positions, z.shape, z.dtype)


def _bias(
    eqn: jex.JaxprEqn,
    tags: Sequence[int | None],
    product_of: dict[jex.Var, DenseProduct],
    occurrences: Counter[jex.Var],
) -> _Bias | None:
    if eqn.primitive.name != "add" or None not in tags:
        return None
    term = eqn.invars[tags.index(None)]
    if not isinstance(term, jex.Var) or term not in product_of:
        return None
    # dy/db = dy/dz needs that z goes nowhere else, and that b has one element for each of z.
    product = product_of[term]
    alone = occurrences[term] == 1 and product.positions == 1
    same = _aval(eqn.invars[0]).shape == _aval(eqn.invars[1]).shape
    return _Bias(product.kernel) if alone and same else None


def _aval(atom: Any) -> Any:
    """Shape and dtype of a jaxpr's variable or literal."""
    return atom.aval


def evaluate_shifted(
    found: DenseProducts, leaves: Sequence[Array], sample: Any, shifts: Sequence[Array]
) -> tuple[Array, list[Array]]:
    """Flat y [|y|] with shifts added to the dense products, and these products' inputs.

    leaves: of the parameters; sample: as `outputs` takes it; shifts: one of z's shape and dtype for
    each product. Shifts of zero give y itself.
    """
    by_path = {p.path: (p, shift) for p, shift in zip(found.products, shifts, strict=True)}
    arguments = [*leaves, *jax.tree.leaves(sample)]
    (y,), inputs = _evaluate(found.jaxpr.jaxpr, found.jaxpr.consts, arguments, by_path, ())
    return y, [inputs[product.kernel] for product in found.products]


def _evaluate(
    jaxpr: jex.Jaxpr,
    constants: Sequence[Any],
    arguments: Sequence[Any],
    shifts: dict[tuple[int, ...], tuple[DenseProduct, Array]],
    path: tuple[int, ...],
) -> tuple[list[Any], dict[int, Array]]:
    """Evaluate a jaxpr; only calls that contain a product are opened, all else is left whole."""
    variables = [*jaxpr.constvars, *jaxpr.invars]
    values = dict(zip(variables, [*constants, *arguments], strict=True))
    operands: dict[int, Array] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for number, eqn in enumerate(jaxpr.eqns):
        here, inputs = (*path, number), [read(atom) for atom in eqn.invars]
        body = _body(eqn)
        if body is not None and any(p[: len(here)] == here for p in shifts):
            results, inner = _evaluate(*body, inputs, shifts, here)
            operands |= inner
        else:
            with eqn.ctx.manager:  # compute placement and the like, as recorded
                results = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
            results = results if eqn.primitive.multiple_results else [results]
        if here in shifts:
            product, shift = shifts[here]
            results = [results[0] + shift]
            operands[product.kernel] = inputs[1 - product.side]
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars], operands
