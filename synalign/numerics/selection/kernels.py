"""Kernels of the Gaussian process, and the median heuristic for their length scale.

The kernels are gpytorch's, in float64, so that any other gpytorch kernel can be passed in their place. Sums and
products of kernels are kernels: Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), section
4.2.4; one length scale for each column (ARD): section 5.1. The median heuristic is that of Gretton et al., "A Kernel
Two-Sample Test", JMLR 13 (2012), section 8.
"""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_matrix, as_vector, check_count, check_positive

if TYPE_CHECKING:
    import gpytorch
    import torch

#: The names that a kernel expression is made of.
KERNEL_NAMES = ("rbf", "matern12", "matern32", "matern52")

#: Names in one expression, at most. The mean of up to 48 ones is exactly 1 in float64, that of 49 is not.
MAX_PARTS = 16

#: A longer tensor is described by its shape and hash.
DESCRIBED_NUMBERS = 8

_GRAMMAR = (
    f"A kernel is one of {', '.join(KERNEL_NAMES)}, or up to {MAX_PARTS} of them joined by '+' (their mean) and '*' "
    "(their product, which binds tighter), without parentheses, e.g. 'rbf + matern32*matern12'"
)

#: What `median_distance` returns when no two sampled rows differ: there is no scale in the data, any one will do.
FALLBACK_DISTANCE = 1.0


def median_distance(vectors: Any, seed: int, sample: int = 2000) -> float:
    """Return the median Euclidean distance over all pairs of `sample` rows drawn without replacement.

    Pairs at distance 0 count as all others do. If the median is 0 (more than half of the pairs are duplicates), it is
    the median of the distances above 0; if there are none, because all sampled rows are equal, it is
    FALLBACK_DISTANCE, so that the result can always be used as a length scale.

    Args:
        vectors: [n, d] float.
        seed: draws the rows; not used where n <= sample.
        sample: rows to draw, at least 2. Memory is 8 * sample**2 bytes and a small multiple.

    Raises:
        NumericsError: if `vectors` is no finite matrix or `sample` is below 2.
    """
    from scipy.spatial.distance import pdist

    matrix = as_matrix("vectors", vectors)
    check_count("sample", sample, 2, 20_000, "rows")
    if len(matrix) > sample:
        rows = np.random.default_rng(seed).choice(len(matrix), sample, replace=False)
        matrix = matrix[np.sort(rows)]
    distances = pdist(matrix.astype(np.float64))
    if distances.size == 0 or distances.max() == 0:
        return FALLBACK_DISTANCE
    median = float(np.median(distances))
    return median if median > 0 else float(np.median(distances[distances > 0]))


def check_kernel_expression(text: str) -> str:
    """Return a kernel expression in its canonical form, its parts in the order given: "rbf + matern32*matern12".

    Raises:
        NumericsError: if a name is not known, or missing beside a sign, or there are more than MAX_PARTS.
    """
    return " + ".join("*".join(term) for term in _terms(text))


def make_kernel(name: str, length_scale: float | np.ndarray) -> gpytorch.kernels.Kernel:
    """Return a stationary gpytorch kernel of prior variance 1, in float64, without gradients.

    Args:
        name: a kernel expression (`check_kernel_expression`): names of KERNEL_NAMES joined by "+" and "*". "matern12"
            has smoothness nu = 1/2, and so on. A sum is divided by the number of its terms, so that k(x, x) = 1.
        length_scale: of all parts, in units of Euclidean distance between vectors; or float [d], one for each column
            of the vectors (ARD).

    Raises:
        NumericsError: if the expression is not valid or a length scale is not a finite number above 0.
    """
    terms = _terms(name)
    scales = _length_scales(length_scale)
    import gpytorch
    import torch

    def fixed() -> gpytorch.constraints.Positive:
        # Through gpytorch's softplus and its inverse a value changes in its last digits, and 1 would not stay 1.
        return gpytorch.constraints.Positive(transform=None)

    def part(known: str) -> gpytorch.kernels.Kernel:
        columns = scales.size if scales.ndim else None
        if known == "rbf":
            kernel = gpytorch.kernels.RBFKernel(ard_num_dims=columns, lengthscale_constraint=fixed())
        else:
            nu = {"matern12": 0.5, "matern32": 1.5, "matern52": 2.5}[known]
            kernel = gpytorch.kernels.MaternKernel(nu=nu, ard_num_dims=columns, lengthscale_constraint=fixed())
        kernel = kernel.double()
        kernel.lengthscale = torch.from_numpy(scales)
        return kernel

    def product(term: tuple[str, ...]) -> gpytorch.kernels.Kernel:
        return part(term[0]) if len(term) == 1 else gpytorch.kernels.ProductKernel(*map(part, term))

    if len(terms) == 1:
        kernel = product(terms[0])
    else:
        summed = gpytorch.kernels.AdditiveKernel(*map(product, terms))
        kernel = gpytorch.kernels.ScaleKernel(summed, outputscale_constraint=fixed()).double()
        kernel.outputscale = torch.tensor(1 / len(terms), dtype=torch.float64)
    return kernel.requires_grad_(False).eval()


def describe_kernel(kernel: gpytorch.kernels.Kernel) -> str:
    """Return one line that names all that the covariance of a gpytorch kernel depends on, e.g.
    "ScaleKernel(outputscale=2, RBFKernel(lengthscale=0.5))".

    It holds class names (with their module where that is not gpytorch's or torch's), the structure, and every
    parameter, buffer and public attribute of each part: numbers in the shortest form that gives them back exactly,
    tensors of more than DESCRIBED_NUMBERS as shape and hash. A parameter under a constraint is given as the kernel uses
    it: "lengthscale", not "raw_lengthscale". Device, number format, training mode, constraints and priors are left out:
    the covariance does not depend on them. A function counts by its name, any other object by its class. A kernel that
    draws random numbers when it is first called (RFFKernel) has another description from then on.

    Raises:
        NumericsError: if it is no gpytorch kernel.
    """
    import gpytorch

    if not isinstance(kernel, gpytorch.kernels.Kernel):
        raise NumericsError(
            f"kernel must be a gpytorch.kernels.Kernel; given: {_qualified(type(kernel))}. For a kernel by name, call "
            "make_kernel first."
        )
    return _describe(kernel)


def _terms(text: str) -> list[tuple[str, ...]]:
    """Return the terms of the sum, each as the names of its product."""
    if not isinstance(text, str):
        raise NumericsError(f"kernel must be a text; given: {text!r}. {_GRAMMAR}.")
    terms = [tuple(name.strip() for name in term.split("*")) for term in text.split("+")]
    names = [name for term in terms for name in term]
    for name in names:
        if not name:
            raise NumericsError(f"kernel lacks a name before or after a sign; given: {text!r}. {_GRAMMAR}.")
        if name not in KERNEL_NAMES:
            near = difflib.get_close_matches(name.lower(), KERNEL_NAMES, n=1)
            hint = f" The nearest known name is {near[0]!r}." if near else ""
            raise NumericsError(f"kernel {text!r} holds the unknown part {name!r}.{hint} {_GRAMMAR}.")
    if len(names) > MAX_PARTS:
        raise NumericsError(f"kernel has {len(names)} parts; at most {MAX_PARTS} are allowed. {_GRAMMAR}.")
    return terms


def _length_scales(given: float | np.ndarray) -> np.ndarray:
    """Return the length scale as float64, 0-d, or 1-d for ARD."""
    if np.ndim(given) == 0:
        return np.array(check_positive("length_scale", given))  # type: ignore[arg-type]
    scales = as_vector("length_scale", given, np.size(given)).copy()
    if not scales.size or scales.min() <= 0:
        where = f"entry {int(np.argmin(scales))} is {scales.min()}" if scales.size else "it is empty"
        raise NumericsError(f"length_scale must hold numbers above 0, one for each column of the vectors; {where}.")
    return scales


def _describe(module: torch.nn.Module) -> str:
    import gpytorch
    import torch

    if isinstance(module, torch.nn.ModuleList):
        return "[" + ", ".join(_describe(part) for part in module) + "]"
    values = {
        name: value
        for name, value in vars(module).items()
        if not (name.startswith("_") or name == "training" or value is None)
    }
    values |= dict(module.named_buffers(recurse=False, remove_duplicate=False))
    constraint_of = getattr(module, "constraint_for_parameter_name", lambda _: None)
    for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        constraint = constraint_of(name)
        if constraint is None:
            values[name] = parameter
        else:
            values[name.removeprefix("raw_")] = constraint.transform(parameter)
    parts = [f"{name}={_describe_value(value)}" for name, value in sorted(values.items())]
    # Not named_children, which leaves out the second place of a part that stands in two.
    for name, child in module.named_modules(remove_duplicate=False):
        direct = name and "." not in name
        if direct and not isinstance(child, gpytorch.constraints.Interval | gpytorch.priors.Prior):
            parts.append(_describe(child))
    return f"{_qualified(type(module))}({', '.join(parts)})"


def _describe_value(value: Any) -> str:
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return _describe_array((tensor.double() if tensor.is_floating_point() else tensor).numpy())
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, float):
        return repr(float(value)).removesuffix(".0")
    if isinstance(value, bool | int | str | bytes | complex):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_describe_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{_describe_value(key)}: {_describe_value(value[key])}" for key in value)) + "}"
    return _qualified(value if hasattr(value, "__qualname__") else type(value))


def _describe_array(array: np.ndarray) -> str:
    if array.size == 1:
        return _describe_value(array.item())
    if array.size <= DESCRIBED_NUMBERS:
        while array.ndim > 1 and len(array) == 1:
            # gpytorch holds d length scales as [1, d].
            array = array[0]
        return _describe_value(array.tolist())
    plain = array.astype("<f8") if array.dtype.kind == "f" else np.ascontiguousarray(array)
    return f"{plain.dtype.name}{list(array.shape)} sha256:{hashlib.sha256(plain.tobytes()).hexdigest()}"


def _qualified(named: Any) -> str:
    module = str(named.__module__)
    foreign = module.partition(".")[0] not in ("gpytorch", "torch", "builtins")
    return f"{module}.{named.__qualname__}" if foreign else str(named.__qualname__)
