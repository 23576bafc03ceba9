"""What an estimator's arguments stand for: names, tables and objects ⇄ a network, a loss, a rule.

Names are those of an experiment file, from the closed registries of `pullback.config`; a table is a
dict as in that file, such as ``{"name": "leaky-relu", "negative_slope": 0.1}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pydantic

from .. import config
from ..augment import Augmentation, Compose, Setting
from ..errors import ConfigError, nearest
from ..initializer import Initializer
from ..loss import Loss
from ..maps import Affine, BatchNorm, Dropout, Map, Net, chain
from ..optim import Method, Schedule
from ..penalty import L2, Penalty, Sum
from .pair import Pair

# The learning rate of a rule that is only named. Those that divide by the size of the gradients
# move every weight by about the rate; the others by the rate times the gradient.
_BY_SIZE = 0.001
_BY_GRADIENT = 0.1
_UNSCALED = ("sgd", "momentum")


def build(value: Any, kind: type, registry: Mapping[str, type], word: str) -> Any:
    """Make the object that an argument stands for.

    Args:
        value: an object of this kind, its registered name, or a table with the name and fields.
        kind: what is wanted.
        registry: the names that there are.
        word: the argument, for the error.

    Raises:
        ConfigError: it stands for nothing.

    >>> from pullback import maps
    >>> build({"name": "leaky-relu", "negative_slope": 0.1}, Map, config.LAYERS, "activation")
    LeakyRelu(negative_slope=0.1)
    """
    if isinstance(value, kind) and not isinstance(value, type):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or "name" not in table:
        raise ConfigError(
            f"{word} must be a name, a dict with a name, or an object, got {value!r}",
            next=f"names are {', '.join(sorted(registry))}",
        )
    if table["name"] not in registry:
        raise ConfigError(
            f"{word} has no name {table['name']!r}", next=nearest(str(table["name"]), registry)
        )
    try:
        return config.TABLES[table["name"]](**table).build()
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "its table"
        raise ConfigError(
            f"{word}={value!r}: {field}: {first['msg']}",
            next=f"give an object, or {{'name': {table['name']!r}, '{field}': …}}",
        ) from None


def layers(net: Any) -> Net:
    """The network that the argument `net` gives whole.

    Raises:
        ConfigError: it is no map.
    """
    if isinstance(net, Net):
        return net
    if isinstance(net, Map):
        return chain(net)
    raise ConfigError(
        f"net must be a network, got {net!r}", next="make one: pullback.maps.chain(Affine(10), …)"
    )


def network(
    outputs: int,
    *,
    hidden: Any,
    activation: Any,
    normalization: Any,
    dropout: Any,
    input_dropout: float,
    initializer: Any,
    bias: bool,
) -> Net:
    """A network from hidden widths, ending in `outputs` outputs.

    Each hidden layer is affine, normalised, activated and dropped out, in this order. An affine map
    before a batch-norm has no bias, since the shift of the batch-norm takes its place.

    Raises:
        ConfigError: an argument is of another kind, or not one per layer.

    >>> net = network(1, hidden=(4,), activation="tanh", normalization=None, dropout=0.5,
    ...               input_dropout=0.0, initializer="glorot", bias=True)
    >>> [node.name for node in net.nodes]
    ['affine1', 'tanh1', 'dropout1', 'affine2']
    """
    widths = _widths(hidden)
    activations = _per_layer(activation, len(widths), "activation")
    rates = _per_layer(dropout, len(widths), "dropout")
    start = build(initializer, Initializer, config.INITIALIZERS, "initializer")
    norm = []
    if normalization is not None:
        norm = [build(normalization, Map, config.LAYERS, "normalization")]
    inner = bias and not any(isinstance(map, BatchNorm) for map in norm)
    parts: list[Map] = [Dropout(input_dropout)] if input_dropout else []
    for width, each, rate in zip(widths, activations, rates, strict=True):
        act = build(each, Map, config.LAYERS, "activation")
        parts += [Affine(width, inner, start), *norm, act]
        parts += [Dropout(rate)] if rate else []
    return chain(*parts, Affine(outputs, bias, start))


def _widths(hidden: Any) -> tuple[int, ...]:
    widths: Any = (hidden,) if isinstance(hidden, Integral) else hidden
    several = isinstance(widths, Sequence) and not isinstance(widths, str)
    if not several or not all(isinstance(w, Integral) and int(w) >= 1 for w in widths):
        raise ConfigError(
            f"hidden must be widths of at least 1, got {hidden!r}",
            next="such as (100,) or (64, 32); () for a linear model",
        )
    return tuple(int(w) for w in widths)


def _per_layer(value: Any, count: int, word: str) -> tuple[Any, ...]:
    """One value for each hidden layer: the same, or those of a list."""
    if not isinstance(value, list | tuple):
        return (value,) * count
    if len(value) != count:
        raise ConfigError(
            f"{word} has {len(value)} entries for {count} hidden layers",
            next="give one for each, or a single one for all",
        )
    return tuple(value)


def loss(value: Any, usual: str) -> Loss:
    """The loss; `usual` where none is given. A pair of functions is its value and its reverse."""
    if isinstance(value, tuple) and len(value) == 2 and all(map(callable, value)):
        return Pair(*value)
    return build(usual if value is None else value, Loss, config.LOSSES, "loss")


def augmentation(
    value: Any, image: Any, features: int, batch_size: int, loss: Loss, targets: np.ndarray
) -> Compose:
    """What is done to the batches of training.

    Args:
        value: None, or a list of names, tables and objects.
        image: (height, width) or (height, width, channels) of a row; None if rows are no pictures.
        features: the numbers in a row.
        batch_size: examples in a step.
        loss: what is minimised.
        targets: (n, k).

    Raises:
        ConfigError: the image has another number of pixels, or an augmentation does not fit.

    >>> from pullback.loss import SquaredError
    >>> augmentation(["flip"], (2, 2), 4, 1, SquaredError(), np.ones((1, 1))).picture
    (2, 2, 1)
    """
    picture: Any = None
    if image is not None:
        several = isinstance(image, tuple | list) and len(image) in (2, 3)
        if not several or int(np.prod(image)) != features:
            raise ConfigError(
                f"image must be (height, width) or (height, width, channels) of the {features} "
                f"features, got {image!r}"
            )
        picture = (*image, 1)[:3]
    if value is None:
        return Compose()
    steps = value if isinstance(value, list | tuple) else [value]
    built = [build(each, Augmentation, config.AUGMENTATIONS, "augment") for each in steps]
    compose = Compose(tuple(built), picture)
    mean = targets.mean(axis=0, keepdims=True)
    compose.check(Setting(picture, "the estimator's X", False, loss, mean, batch_size))
    return compose


def rule(value: Any, learning_rate: float | Schedule | None) -> Any:
    """The rule of a name and a learning rate, or the one that is given.

    Raises:
        ConfigError: there is no such rule; a learning rate is given that nothing would take.
    """
    if isinstance(value, str) and value in config.RULES:
        kind: Any = config.RULES[value]
        fields = getattr(kind, "__dataclass_fields__", {})
        if "learning_rate" in fields:
            usual = _BY_GRADIENT if value in _UNSCALED else _BY_SIZE
            if learning_rate is not None:
                usual = float(learning_rate) if isinstance(learning_rate, Real) else learning_rate
            elif value == "adadelta":
                return kind()
            return kind(usual)
    if learning_rate is not None:
        raise ConfigError(
            f"learning_rate={learning_rate!r} has no use with rule={value!r}",
            next="give the rule its rate itself, or name a rule such as 'adam'",
        )
    # Optax's rules are tuples of functions, which have no class to ask for.
    if callable(getattr(value, "init", None)) and callable(getattr(value, "update", None)):
        return value
    return build(value, Method, config.RULES | config.METHODS, "rule")


def penalty(value: Any) -> Penalty:
    """The penalty: none, the strength of an L2 penalty, or one or several objects or tables.

    >>> penalty(0.01)
    L2(strength=0.01, on=('weight',))
    """
    if value is None:
        return Sum()
    if isinstance(value, Real):
        return L2(float(value))
    if isinstance(value, list | tuple):
        return Sum(tuple(penalty(each) for each in value))
    return build(value, Penalty, config.PENALTIES, "penalty")
