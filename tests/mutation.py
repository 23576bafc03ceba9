"""Break every reverse on purpose, and see whether the checks of the catalogue notice.

    python tests/mutation.py [part of a name ...]

Cosmic Ray's operators (arithmetic, comparisons, numbers, signs, booleans) are applied to each
function of the reverse side in `maps`, `loss` and `penalty`: `reverse`, `slope`, `slopes`, `kept`,
`sweep`, `prox`, `after_step`, and what only these call. A mutant is first tried in this process:
the cases of its class, in float64, against autodiff (see `pullback.catalogue.verify`). One that
passes meets the tests of its family, with the reverse patched in the same process: what happens at
a kink is theirs. It ends with 1 if fewer than 95 % are killed, or if a survivor has no
reason in `REASONS`.

It wants the extra `mutation`: cosmic-ray.
"""

from __future__ import annotations

import ast
import importlib
import io
import itertools
import pkgutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
from cosmic_ray.plugins import get_operator, operator_names  # pyright: ignore[reportMissingImports]
from jax.flatten_util import ravel_pytree

from pullback import loss, maps, penalty
from pullback.catalogue.cases import LOSSES, PENALTIES, parameters
from pullback.catalogue.map_cases import MAPS
from pullback.catalogue.verification import AUTODIFF
from pullback.catalogue.verify import EXAMPLES, envelope
from pullback.check import relative_error
from pullback.maps import Run

WANTED = 0.95
TESTS = Path(__file__).parent
REVERSE_SIDE = {"reverse", "slope", "slopes", "kept", "sweep", "prox", "after_step"}
FORWARD_SIDE = {"forward", "value", "terms", "cost", "init"}

# Shifts and the like mean nothing between arrays of numbers: they would be killed by their type.
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow"}
COMPARISON = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}

# The tests of a family, by the beginning of its module's name.
FAMILIES = {
    "maps.activation": ("test_activations.py", "test_activation_kinds.py"),
    "maps.affine": ("test_structure.py",),
    "maps.compose": ("test_structure.py", "test_sheet_networks.py"),
    "maps.conv": ("test_conv.py",),
    "maps.core": ("test_structure.py", "test_sheet_networks.py"),
    "maps.dropout": ("test_dropout.py",),
    "maps.norm": ("test_norm.py",),
    "maps.pool": ("test_conv.py",),
    "maps.recompute": ("test_structure.py",),
    "maps.shape": ("test_conv.py",),
    "maps.window": ("test_conv.py",),
    "loss": ("test_loss.py", "test_class_weight.py"),
    "penalty": ("test_penalty.py",),
}
# As in pyproject.toml, without what has to come before the first import.
OPTIONS = "-xq -p no:cacheprovider --assert=plain -o addopts=--import-mode=importlib".split()

# Mutants that are no fault: what they compute is the same. By function and mutated line.
_MATRIX = "z and t are matrices: their second axis is their last"
_ANY_ENTRY = "any entry serves: it is only there to be multiplied by 0"
_NEVER_NEGATIVE = "a length is never negative"
_UNUSED = "what stands for the length of a zero group is multiplied by zero, or not taken"
_AS_MANY = "both always have as many members"
REASONS: dict[tuple[str, str], str] = {
    (
        "maps.activation.bounded.HardTanh.slope",
        "return (jnp.abs(kept) != 1).astype(kept.dtype)",
    ): "|y| is never above 1",
    (
        "maps.activation.rectifier.Relu.slope",
        "return (kept != 0).astype(kept.dtype)",
    ): "y is never negative",
    (
        "maps.core.Net.sweep",
        "node.inputs, (dx,) if isinstance(node.reads, str) else dx, strict=False",
    ): _AS_MANY,
    (
        "maps.norm.BatchNorm._pull",
        'if self.deviation <= "l1":',
    ): "the other name here, linf, comes after l1",
    (
        "maps.pool._unite",
        "jnp.add, (placed(i, j, part) for (i, j), part in "
        "zip(_places(window), parts, strict=False))",
    ): _AS_MANY,
    (
        "maps.recompute.Recompute.reverse",
        "x = jax.tree.map(lambda leaf: leaf - zero.astype(leaf.dtype), x)",
    ): "it is 0 that is taken off instead of added",
    ("maps.recompute.Recompute.reverse", "zero = 0 * dy.ravel()[ 1]"): _ANY_ENTRY,
    ("maps.recompute.Recompute.reverse", "zero = 0 * dy.ravel()[ -1]"): _ANY_ENTRY,
    **{
        ("loss.classification.SoftmaxCrossEntropy.slopes", line): _MATRIX
        for axis in ("+1", "1")
        for line in (
            f"return jax.nn.softmax(z, axis={axis}) * jnp.sum(t, axis=-1, keepdims=True) - t",
            f"return jax.nn.softmax(z, axis=-1) * jnp.sum(t, axis={axis}, keepdims=True) - t",
        )
    },
    **{
        (f"loss.{where}.slopes", line.format(axis)): _MATRIX
        for axis in ("+1", "1")
        for where, line in (
            (
                "likelihood.GaussianLikelihood",
                "return jnp.concatenate([by_mean, by_raw], axis={})",
            ),
            (
                "margin.MulticlassHinge",
                "return near - t * jnp.sum(near, axis={}, keepdims=True)",
            ),
            (
                "regression.CosineDistance",
                "return inverse * (u * jnp.sum(u * v, axis={}, keepdims=True) - v)",
            ),
        )
    },
    (
        "loss.margin.SquaredHinge.slopes",
        "return -2 / (2 * t - 1) * super().terms(z, t)",
    ): "2 t − 1 is 1 or −1, and so is its inverse",
    **{
        ("loss.margin.MulticlassHinge.slopes", f"near = jnp.where(_lead(z, t) > 0, {one}, 0)"): (
            "what the right class is given is taken off again in the next line"
        )
        for one in ("1 + t", "1 ** t")
    },
    (
        "loss.regression.Quantile.slope",
        "return jnp.where(r > 0, above, jnp.where(r != 0, below, jnp.zeros_like(r)))",
    ): "a positive r does not come so far",
    **{
        (
            "penalty.structure.GroupLasso.slope",
            f"return jnp.where(lengths {outer}, self._root(w) * w / "
            f"jnp.where(lengths {inner}, lengths, {length}), 0)",
        ): reason
        for outer, inner, length, reason in (
            ("!= 0", "> 0", "1", _NEVER_NEGATIVE),
            ("> 0", "!= 0", "1", _NEVER_NEGATIVE),
            ("> 0", ">= 0", "1", _UNUSED),
            ("> 0", "> -1", "1", _UNUSED),
            ("> 0", "> 0", "2", _UNUSED),
            ("> 0", "> 0", "0", _UNUSED),
        )
    },
    **{
        (
            "penalty.structure.GroupLasso.prox",
            f"kept = jnp.maximum(lengths - limit, 0) / jnp.where(lengths {where}, lengths, {one})",
        ): reason
        for where, one, reason in (("!= 0", "1", _NEVER_NEGATIVE), ("> 0", "2", _UNUSED))
    },
}


@dataclass(frozen=True)
class Target:
    """A function of the reverse side.

    Attributes:
        module: where it is.
        owner: its class, or None for a function of the module.
        name: its own name.
        source: its text, with the indentation that it has.
    """

    module: ModuleType
    owner: type | None
    name: str
    source: str

    @property
    def where(self) -> str:
        """Its name, in full."""
        module = self.module.__name__.removeprefix("pullback.")
        return ".".join([module, *([self.owner.__name__] if self.owner else []), self.name])


@dataclass(frozen=True)
class Mutant:
    """A target with one change."""

    target: Target
    source: str

    @property
    def lines(self) -> tuple[str, str]:
        """The line that was changed, as it was and as it is."""
        before, after = self.target.source.splitlines(), self.source.splitlines()
        pairs = itertools.zip_longest(before, after, fillvalue="")
        old, new = next((a, b) for a, b in pairs if a != b)
        return old.strip(), new.strip()

    def reason(self) -> str | None:
        """Why it may survive."""
        return REASONS.get((self.target.where, self.lines[1]))


def targets() -> Iterator[Target]:
    """Every function of the reverse side."""
    for room in (maps, loss, penalty):
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            yield from _targets_of(importlib.import_module(info.name))


def _targets_of(module: ModuleType) -> Iterator[Target]:
    text = Path(str(module.__file__)).read_text("utf-8")
    functions = [
        (owner, node)
        for owner, body in _bodies(ast.parse(text))
        for node in body
        if isinstance(node, ast.FunctionDef)
    ]
    chosen = {node for _, node in functions if node.name in REVERSE_SIDE}
    while True:
        by_others = set().union(*(_mentions(n) for _, n in functions if n not in chosen))
        by_chosen = set().union(*(_mentions(n) for n in chosen))
        names = by_chosen - by_others - FORWARD_SIDE
        more = {n for _, n in functions if n.name in names} - chosen
        if not more:
            break
        chosen |= more
    for owner, node in functions:
        abstract = isinstance(node.body[-1], ast.Raise)
        if node in chosen and not node.decorator_list and not abstract:
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            kind = getattr(module, owner) if owner else None
            yield Target(module, kind, node.name, "\n".join(lines) + "\n")


def _bodies(parsed: ast.Module) -> Iterator[tuple[str | None, list[ast.stmt]]]:
    yield None, parsed.body
    for node in parsed.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node.body


def _mentions(function: ast.FunctionDef) -> set[str]:
    """The names that a function speaks of, its own apart."""
    nodes = [each for statement in function.body for each in ast.walk(statement)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return (names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}) - {
        function.name
    }


def mutants(target: Target) -> Iterator[Mutant]:
    """Every mutant of a function; one text counts once."""
    seen = {target.source}
    flat = textwrap.dedent(target.source)
    indent = target.source[: len(target.source) - len(target.source.lstrip())]
    for name in filter(_wanted, operator_names()):
        for occurrence in itertools.count():
            changed = mutate_code(flat, get_operator(name)(), occurrence)
            if changed is None:
                break
            source = textwrap.indent(changed, indent)
            if source not in seen:
                seen.add(source)
                yield Mutant(target, source)


def _wanted(operator: str) -> bool:
    kind, _, change = operator.removeprefix("core/").partition("_")
    parts = set(change.split("_"))
    if kind == "ReplaceBinaryOperator":
        return parts <= ARITHMETIC
    if kind == "ReplaceComparisonOperator":
        return parts <= COMPARISON
    others = ("ReplaceUnaryOperator", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
              "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer")  # fmt: skip
    return kind in others


class Subject:
    """A case, and how to ask whether its gradient is still right."""

    def __init__(self, kinds: set[type], error: Callable[[], float]):
        self.kinds, self.error = kinds, error

    def concerns(self, target: Target) -> bool:
        """Whether its answer depends on the target."""
        if target.owner is not None:
            return any(issubclass(kind, target.owner) for kind in self.kinds)
        package = target.module.__name__
        return any(base.__module__ == package for kind in self.kinds for base in kind.__mro__)


def subjects() -> Iterator[Subject]:
    """Every case of the catalogue; what autodiff says is computed once."""
    for case in MAPS:
        for run in (Run(jax.random.key(1), True), Run()):
            yield Subject(_kinds(case.map), _map_error(case, run))
    for case in LOSSES:
        yield Subject(_kinds(case.loss), _loss_error(case))
    for each in PENALTIES:
        yield Subject(_kinds(each), _penalty_error(each))
        acts = penalty.Proximal(each) if isinstance(each, penalty.Proximable) else each
        if isinstance(acts, penalty.Proximal | penalty.MaxNorm):
            yield Subject(_kinds(each), _step_error(acts))


def _kinds(what: Any) -> set[type]:
    """The class of an object, and those of the maps, losses and penalties inside."""
    found = {type(what)}
    inside = list(vars(what).values())
    for each in itertools.chain(*(v if isinstance(v, tuple) else (v,) for v in inside)):
        each = each.map if isinstance(each, maps.Node) else each
        if isinstance(each, maps.Map | loss.Loss | penalty.Penalty):
            found |= _kinds(each)
    return found


def _map_error(case, run) -> Callable[[], float]:
    map, valued = case.map, case.surrogate or case.map
    x = jax.tree.map(jnp.asarray, case.input())
    params, state = map.init(jax.random.key(0), x)
    y, pull = jax.vjp(lambda p, v: valued.forward(p, state, v, run)[0], params, x)
    random = np.random.default_rng((0, 1)).standard_normal(y.shape)
    holed = random.copy()
    holed.flat[0] = 0
    asked = [(jnp.asarray(dy), pull(jnp.asarray(dy))) for dy in (random, holed)]

    def error():
        _, saved, _ = map.forward(params, state, x, run)
        return np.max([_apart(map.reverse(params, saved, dy), theirs) for dy, theirs in asked])

    return error


def _loss_error(case) -> Callable[[], float]:
    z, t = map(jnp.asarray, case.sample(n=EXAMPLES))
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2, len(z))).at[1].set(0)
    theirs = jax.grad(lambda z: case.loss.forward(z, t, weight)[0])(z)
    return lambda: _apart(case.loss.reverse(case.loss.forward(z, t, weight)[1]), theirs)


def _penalty_error(each) -> Callable[[], float]:
    params = jax.tree.map(jnp.asarray, parameters())
    theirs = jax.grad(each.differentiated.value)(params)
    return lambda: _apart(each.reverse(params), theirs)


def _step_error(acts) -> Callable[[], float]:
    params = jax.tree.map(jnp.asarray, parameters())
    value, reverse = envelope(acts)
    return lambda: _apart(reverse(params), jax.grad(value)(params))


def _apart(ours, theirs) -> float:
    if jax.tree.map(jnp.shape, ours) != jax.tree.map(jnp.shape, theirs):
        return np.inf
    return relative_error(ravel_pytree(ours)[0], ravel_pytree(theirs)[0])


def killed_here(mutant: Mutant, concerned: list[Subject]) -> bool:
    """Whether a case of the catalogue fails with the mutant in the place of its target."""
    with _in_place(mutant):
        try:
            return any(not subject.error() < AUTODIFF for subject in concerned)
        except Exception:  # whatever a broken function raises, it was noticed
            return True


@contextmanager
def _in_place(mutant: Mutant) -> Iterator[None]:
    """Put the mutated function where the original was; `super()` in it finds its class."""
    target, found = mutant.target, {}
    body = textwrap.indent(textwrap.dedent(mutant.source), "    ")
    text = f"def _with(__class__):\n{body}\n    return {target.name}\n"
    exec(text, vars(target.module), found)
    place = target.owner or target.module
    original = vars(place)[target.name]
    setattr(place, target.name, found["_with"](target.owner))
    try:
        yield
    finally:
        setattr(place, target.name, original)


def killed_by_tests(mutant: Mutant) -> bool:
    """Whether a test of its family fails with the mutant in the place of its target."""
    with _in_place(mutant):
        return not passes(family(mutant.target))


def family(target: Target) -> tuple[str, ...]:
    """The files of tests that are about a target."""
    module = target.module.__name__.removeprefix("pullback.")
    return next(names for start, names in FAMILIES.items() if module.startswith(start))


def passes(names: tuple[str, ...]) -> bool:
    """Run files of tests in this process, where what was compiled once need not be again."""
    with redirect_stdout(io.StringIO()) as told:
        code = pytest.main([*OPTIONS, *(str(TESTS / name) for name in names)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(told.getvalue())
    return code == pytest.ExitCode.OK


def main(parts: list[str]) -> int:
    """Try every mutant, print a table and the survivors, and return the exit code."""
    jax.config.update("jax_numpy_rank_promotion", "raise")  # as in the tests
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    with jax.enable_x64(True):
        cases = list(subjects())
        assert all(subject.error() < AUTODIFF for subject in cases), "the catalogue is not right"
        here: dict[str, list[int]] = {}
        left: list[Mutant] = []
        for target in targets():
            if parts and not any(part in target.where for part in parts):
                continue
            concerned = [subject for subject in cases if subject.concerns(target)]
            for mutant in mutants(target):
                counts = here.setdefault(target.where, [0, 0])
                counts[0] += 1
                if killed_here(mutant, concerned):
                    counts[1] += 1
                else:
                    left.append(mutant)
    equal = [mutant for mutant in left if mutant.reason()]
    left = [mutant for mutant in left if not mutant.reason()]
    print(
        f"{len(left)} mutants pass the catalogue; the tests of their families try them", flush=True
    )
    for names in {family(mutant.target) for mutant in left}:
        assert passes(names), f"without any mutant, a test fails in {', '.join(names)}"
    tried = [(mutant, killed_by_tests(mutant)) for mutant in left]
    survivors = equal + [mutant for mutant, killed in tried if not killed]
    print(f"{'function':60} mutants catalogue tests alive")
    for where, (count, killed) in here.items():
        later = sum(killed for mutant, killed in tried if mutant.target.where == where)
        print(f"{where:60} {count:7} {killed:9} {later:5} {count - killed - later:5}")
    count = sum(count for count, _ in here.values())
    share = 1 - len(survivors) / count
    print(f"{count} mutants, {count - len(survivors)} killed: {100 * share:.1f} %")
    for mutant in survivors:
        old, new = mutant.lines
        print(f"\nalive: {mutant.target.where}\n  - {old}\n  + {new}\n  {mutant.reason()}")
    unexplained = [mutant for mutant in survivors if mutant.reason() is None]
    return int(share < WANTED or bool(unexplained))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
