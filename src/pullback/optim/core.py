"""What a rule is: gradients in, updates out.

A rule follows the protocol of Optax: ``init(params) -> state`` and ``update(grads, state, params)
-> updates, state``, where updates are ADDED to the parameters. Rules of either library serve in the
other. What a rule remembers is a tree of arrays, so that a checkpoint can hold it by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp

from .. import tree
from ..errors import ConfigError
from ..penalty.core import covers
from ..tree import Tree
from .schedule import Schedule, learning_rate, rate_at


@runtime_checkable
class Rule(Protocol):
    """What turns gradients into updates. Optax's `GradientTransformation` is one."""

    def init(self, params: Tree, /) -> Any:
        """The state before the first step."""
        ...

    def update(self, grads: Tree, state: Any, params: Tree, /) -> tuple[Tree, Any]:
        """What to add to the parameters, and the next state."""
        ...


@dataclass(frozen=True)
class Rated:
    """A rule with a learning rate, whose state counts the steps taken.

    Its updates are the learning rate times a direction that does not depend on the rate.
    """

    learning_rate: float | Schedule
    rated: ClassVar[bool] = True

    def __post_init__(self):
        learning_rate(self)

    def rate(self, state) -> Any:
        """The learning rate of the next update."""
        return rate_at(self.learning_rate, state.steps)


def no_steps():
    """The count of steps before the first."""
    return jnp.zeros((), jnp.int32)


def has_rate(rule: object) -> bool:
    """Whether a rule tells its learning rate: clipping has none, and Optax's rules keep theirs.

    >>> from pullback.optim import SGD, Chain, ClipByNorm
    >>> has_rate(SGD(0.1)), has_rate(Chain((ClipByNorm(1.0), SGD(0.1)))), has_rate(ClipByNorm(1.0))
    (True, True, False)
    """
    return getattr(rule, "rated", False)


def rate_of(rule: Any, state: Any) -> Any:
    """The learning rate of a rule's next update, of a rule that `has_rate`."""
    return rule.rate(state)


def require_rate(owner: object, rule: Rule) -> None:
    """Refuse a rule that does not tell its learning rate."""
    if not has_rate(rule):
        raise ConfigError(
            f"{type(owner).__name__} wants a rule that tells its learning rate, got {rule}",
            next="put it around the rule that has one",
        )


@dataclass(frozen=True)
class Outermost:
    """A rule around another that must know the updates as they are added.

    Nothing may change its updates any more, so it stands outside all others.
    """

    rule: Rule

    @property
    def rated(self) -> bool:
        """Whether the rule inside tells its learning rate."""
        return has_rate(self.rule)

    def rate(self, state) -> Any:
        """The learning rate of the next update."""
        return rate_of(self.rule, state.rule)


class Link:
    """What changes gradients and takes no step by itself: it belongs in a `Chain`, before a rule.

    Alone, it would add the gradients to the parameters, and climb.
    """


def require_step(owner: object, *rules: Rule) -> None:
    """Refuse for a rule what is a link."""
    for rule in rules:
        if isinstance(rule, Link):
            raise ConfigError(
                f"{type(owner).__name__} wants a rule that takes steps, got {rule}",
                next="put it in a chain, before a rule with a learning rate",
            )


def require_inner(owner: object, *rules: Rule) -> None:
    """Refuse to change the updates of one that must have the last word."""
    for rule in rules:
        if isinstance(rule, Outermost):
            inner = type(rule).__name__
            raise ConfigError(
                f"{type(owner).__name__} cannot hold {inner}, which must know what is added to the "
                "parameters",
                next=f"put {inner} outside",
            )


def require_found(owner: object, on: tuple[str, ...], params: Tree) -> None:
    """Refuse a name that means no parameter: what it asks for would silently not be done."""
    there = tree.named(params)
    if not on:
        raise ConfigError(f"{type(owner).__name__}'s `on` names no parameter")
    for entry in on:
        if not any(covers((entry,), name) for name in there):
            raise ConfigError(
                f"{type(owner).__name__}'s `on` names '{entry}', which is no parameter",
                where="the network",
                next=f"there are {', '.join(there) or 'none'}",
            )
