"""Find dense layers in the jaxpr of any function: parameters that enter in one matrix product only.

If the only use of a parameter leaf in the jaxpr of one sample's outputs is one `dot_general`
without batch dimensions, that product z is a dense layer with the leaf as its kernel. The jaxpr is
evaluated with a zero added to z: the derivative in that zero is dy/dz, and the product's other
operand is recorded.

Leaves with any other use are listed as explicit: shared weights, convolutions, normalisation
scales, and whatever enters loops, branches or custom derivative rules.
"""

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

# Rearranging a kernel's elements permutes the columns of J, which does not change J J^T.
_REARRANGING = {"convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose"}
# Calls that are equivalent to their body, unlike custom derivative rules, which stay closed.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}


class DenseProduct(NamedTuple):
    """The only use of a kernel leaf: z = dot_general(input, kernel), or with exchanged operands."""

    kernel: int  # leaf number
    path: tuple[int, ...]  # equation numbers of the enclosing calls, then its own
    side: int  # position of the kernel among the operands
    contracted: tuple[int, ...]  # axes of the input that are summed over
    kernel_contracted: tuple[int, ...]  # those of the kernel, in the same order
    rearranged: tuple[Any, ...]  # equations between the leaf and the kernel as it is multiplied
    positions: int  # T, the size of the input's other axes
    shape: tuple[int, ...]  # of z
    dtype: Any


class DenseProducts(NamedTuple):
    """The dense products of a function, from its jaxpr."""

    jaxpr: jex.ClosedJaxpr  # (parameter leaves..., sample leaves...) -> flat y
    products: tuple[DenseProduct, ...]
    biases: dict[int, int]  # bias leaf -> kernel leaf of the product it is added to, with T = 1
    explicit: tuple[int, ...]  # leaves with any other use


class _Leaf(NamedTuple):
    """A leaf of the parameters, or a rearrangement of it."""

    number: int
    rearranged: tuple[Any, ...]


class _Bias(NamedTuple):
    """The only use of a bias leaf: added elementwise to a product that has no other use."""

    kernel: int


_Use = DenseProduct | _Bias | None  # None: any other use


def find_dense_products(outputs: Outputs, params: Any, samples: Any) -> DenseProducts:
    """Analyse the jaxpr of outputs(params, sample) for one sample of `samples` [batch, ...].

    Raises ValueError for parameters that are not real floating and for samples without arrays.
    """
    named, tree = jax.tree.flatten_with_path(params)
    for path, leaf in named:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} is not real floating")
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
    biases = {i: u.kernel for i, u in enumerate(single) if isinstance(u, _Bias)}
    biases = {i: kernel for i, kernel in biases.items() if kernel in kernels}
    layerwise = kernels | biases.keys()
    explicit = tuple(i for i, use in enumerate(uses) if use and i not in layerwise)
    return DenseProducts(jaxpr, products, biases, explicit)


def _uses_by_leaf(jaxpr: jex.Jaxpr, count: int) -> list[list[_Use]]:
    """Return all uses of each of the first `count` arguments; to be returned is a use, too."""
    others = len(jaxpr.invars) - count
    inside, returned = _uses(jaxpr, [*(_Leaf(i, ()) for i in range(count)), *[None] * others], ())
    uses: list[list[_Use]] = [[] for _ in range(count)]
    for leaf, use in [*inside, *((leaf.number, None) for leaf in returned if leaf is not None)]:
        uses[leaf].append(use)
    return uses


def _uses(
    jaxpr: jex.Jaxpr, entering: Sequence[_Leaf | None], path: tuple[int, ...]
) -> tuple[list[tuple[int, _Use]], list[_Leaf | None]]:
    """Return the uses of the leaves that enter a jaxpr, and the leaves that it returns."""
    atoms = [*(atom for eqn in jaxpr.eqns for atom in eqn.invars), *jaxpr.outvars]
    occurrences = Counter(atom for atom in atoms if isinstance(atom, jex.Var))
    leaf_of = {v: leaf for v, leaf in zip(jaxpr.invars, entering, strict=True) if leaf is not None}
    product_of: dict[jex.Var, DenseProduct] = {}
    uses: list[tuple[int, _Use]] = []

    def leaf(atom: Any) -> _Leaf | None:
        return leaf_of.get(atom) if isinstance(atom, jex.Var) else None

    for number, eqn in enumerate(jaxpr.eqns):
        tags = [leaf(atom) for atom in eqn.invars]
        leaves = [tag for tag in tags if tag is not None]
        if not leaves:
            continue
        out, here = eqn.outvars[0], (*path, number)
        if eqn.primitive.name in _REARRANGING and jnp.issubdtype(_aval(out).dtype, jnp.floating):
            leaf_of[out] = _Leaf(leaves[0].number, (*leaves[0].rearranged, eqn))
        elif (body := _body(eqn)) is not None:
            inner, returned = _uses(body[0], tags, here)
            uses += inner
            leaf_of |= {v: t for v, t in zip(eqn.outvars, returned, strict=True) if t is not None}
        elif (product := _product(eqn, tags, here)) is not None:
            uses.append((product.kernel, product))
            product_of[out] = product
        else:
            bias = _bias(eqn, tags, product_of, occurrences)
            uses += [(tag.number, bias) for tag in leaves]
    return uses, [leaf(atom) for atom in jaxpr.outvars]


def _body(eqn: jex.JaxprEqn) -> tuple[jex.Jaxpr, Sequence[Any]] | None:
    """Return the jaxpr and constants of a plain call, None for any other equation."""
    if eqn.primitive.name not in _CALLS:
        return None
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if isinstance(inner, jex.ClosedJaxpr):
        return inner.jaxpr, inner.consts
    return (inner, ()) if isinstance(inner, jex.Jaxpr) and not inner.constvars else None


def _product(
    eqn: jex.JaxprEqn, tags: Sequence[_Leaf | None], path: tuple[int, ...]
) -> DenseProduct | None:
    """Return an equation as a dense product if exactly one operand is a leaf, else None."""
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
    return DenseProduct(
        kernel.number, path, side, axes, tuple(contracted[side]), kernel.rearranged, positions,
        z.shape, z.dtype,
    )  # fmt: skip


def _bias(
    eqn: jex.JaxprEqn,
    tags: Sequence[_Leaf | None],
    product_of: dict[jex.Var, DenseProduct],
    occurrences: Counter[jex.Var],
) -> _Bias | None:
    """Return an equation as the bias of a dense product, None for any other."""
    if eqn.primitive.name != "add" or None not in tags:
        return None
    term = eqn.invars[tags.index(None)]
    if not isinstance(term, jex.Var) or term not in product_of:
        return None
    # dy/db = dy/dz requires that z has no other use, and that b has one element for each of z.
    product = product_of[term]
    alone = occurrences[term] == 1 and product.positions == 1
    same = _aval(eqn.invars[0]).shape == _aval(eqn.invars[1]).shape
    return _Bias(product.kernel) if alone and same else None


def _aval(atom: Any) -> Any:
    """Return shape and dtype of a jaxpr's variable or literal."""
    return atom.aval


def kernel_matrix(product: DenseProduct, leaf: Array) -> Array:
    """Return a kernel as the matrix [in, out] that the layer's input is multiplied by.

    It is a linear function of the leaf, which rearranges its elements.
    """
    for eqn in product.rearranged:
        leaf = eqn.primitive.bind(leaf, **eqn.primitive.get_bind_params(eqn.params))
    axes = product.kernel_contracted
    size = math.prod(leaf.shape[axis] for axis in axes)
    return jnp.moveaxis(leaf, axes, range(len(axes))).reshape(size, -1)


def evaluate_shifted(
    dense: DenseProducts, leaves: Sequence[Array], sample: Any, shifts: Sequence[Array]
) -> tuple[Array, list[Array]]:
    """Return flat y [|y|] with shifts added to the dense products, and the products' inputs.

    leaves: of the parameters; sample: as `outputs` takes it; shifts: one for each product, of z's
    shape and dtype. Shifts of zero give y itself.
    """
    by_path = {p.path: (p, shift) for p, shift in zip(dense.products, shifts, strict=True)}
    arguments = [*leaves, *jax.tree.leaves(sample)]
    (y,), inputs = _evaluate(dense.jaxpr.jaxpr, dense.jaxpr.consts, arguments, by_path, ())
    return y, [inputs[product.kernel] for product in dense.products]


def _evaluate(
    jaxpr: jex.Jaxpr,
    constants: Sequence[Any],
    arguments: Sequence[Any],
    shifts: dict[tuple[int, ...], tuple[DenseProduct, Array]],
    path: tuple[int, ...],
) -> tuple[list[Any], dict[int, Array]]:
    """Evaluate a jaxpr; of the calls, only those that contain a product are inlined."""
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
