"""Rules made of rules: one after another, and different ones for different parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from .. import tree
from ..errors import ConfigError
from ..penalty.core import covers
from ..tree import Tree
from .core import Link, Rule, has_rate, rate_of, require_found, require_inner, require_step


@dataclass(frozen=True)
class Chain:
    """Rules one after another: each takes what the one before it gives.

    Update:  updates ← rule.update(updates), for each rule in turn, beginning with the gradients
    State:   those of the rules, in order
    Source:  Optax's chain; rules of Optax may be among these

    Args:
        rules: such as a clipping, then a rule with a learning rate.

    Raises:
        ConfigError: no rule that takes steps; two with a learning rate, which would be multiplied.

    >>> import jax.numpy as jnp
    >>> from pullback.optim import SGD, ClipByValue
    >>> rule, params = Chain((ClipByValue(1.0), SGD(0.5))), {"w": jnp.array(1.0)}
    >>> updates, _ = rule.update({"w": jnp.array(8.0)}, rule.init(params), params)
    >>> float(updates["w"])
    -0.5
    """

    rules: tuple[Rule, ...]

    def __post_init__(self):
        require_inner(self, *self.rules)
        if all(isinstance(rule, Link) for rule in self.rules):
            raise ConfigError(
                f"a chain wants a rule that takes steps, got {list(map(str, self.rules))}",
                next="end it with one, such as SGD",
            )
        rated = [str(rule) for rule in self.rules if has_rate(rule)]
        if len(rated) > 1:
            raise ConfigError(
                f"a chain takes one rule with a learning rate, got {' and '.join(rated)}",
                next="keep one of them",
            )

    def init(self, params):
        return tuple(rule.init(params) for rule in self.rules)

    def update(self, grads, state, params):
        updates, after = grads, []
        for rule, own in zip(self.rules, state, strict=True):
            updates, own = rule.update(updates, own, params)
            after.append(own)
        return updates, tuple(after)

    @property
    def rated(self) -> bool:
        """Whether one of the rules tells its learning rate."""
        return any(map(has_rate, self.rules))

    def rate(self, state) -> Any:
        """The learning rate of the next update: of the one rule that has one."""
        parts = zip(self.rules, state, strict=True)
        return next(rate_of(rule, own) for rule, own in parts if has_rate(rule))


@dataclass(frozen=True)
class Frozen:
    """Leave the parameters as they are.

    Update:  params ← params
    State:   none
    Source:  Optax's set_to_zero

    >>> import jax.numpy as jnp
    >>> float(Frozen().update({"w": jnp.array(8.0)}, (), None)[0]["w"])
    0.0
    """

    def init(self, params):
        return ()

    def update(self, grads, state, params):
        return tree.zeros_like(grads), state


class Halves(NamedTuple):
    """The states of the two rules of a `Split`."""

    rule: Any
    rest: Any


@dataclass(frozen=True)
class Split:
    """One rule for the parameters of some names, another for the rest.

    For more groups, let the rest be split again. Each rule sees its own parameters only, as a dict
    by name.

    Update:  updates[on] ← rule.update(grads[on]), the others ← rest.update(the others)
    State:   those of the rule and of the rest
    Source:  Optax's partition

    Args:
        on: which parameters the first rule moves; see `pullback.penalty.core.covers`.
        rule: such as `Frozen()`, or one with a rate of its own.
        rest: the rule of all others. Its learning rate is taken for that of the whole, or, if it
            has none, that of `rule`.

    Raises:
        ConfigError: `on` names a parameter that is not there.

    >>> import jax.numpy as jnp
    >>> from pullback.optim import SGD
    >>> rule, params = Split(("a",), Frozen(), SGD(0.5)), {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    >>> updates, _ = rule.update(params, rule.init(params), params)
    >>> float(updates["a"]), float(updates["b"])
    (0.0, -0.5)
    """

    on: tuple[str, ...]
    rule: Rule
    rest: Rule

    def __post_init__(self):
        require_inner(self, self.rule, self.rest)
        require_step(self, self.rule, self.rest)

    def init(self, params):
        require_found(self, self.on, params)
        ours, others = self._halves(params)
        return Halves(self.rule.init(ours), self.rest.init(others))

    def update(self, grads, state, params):
        (ours, others), (our_params, other_params) = self._halves(grads), self._halves(params)
        our_updates, of_rule = self.rule.update(ours, state.rule, our_params)
        other_updates, of_rest = self.rest.update(others, state.rest, other_params)
        updates = our_updates | other_updates
        whole = jax.tree.map_with_path(lambda path, g: updates[tree.name_of(path)], grads)
        return whole, Halves(of_rule, of_rest)

    @property
    def rated(self) -> bool:
        """Whether one of the two tells its learning rate."""
        return has_rate(self.rest) or has_rate(self.rule)

    def rate(self, state) -> Any:
        """The learning rate of the next update of the rest, or of the others."""
        if has_rate(self.rest):
            return rate_of(self.rest, state.rest)
        return rate_of(self.rule, state.rule)

    def _halves(self, a: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
        """The leaves that `on` means, and the others, by name."""
        leaves = tree.named(a)
        ours = {name: leaf for name, leaf in leaves.items() if covers(self.on, name)}
        return ours, {name: leaf for name, leaf in leaves.items() if name not in ours}
