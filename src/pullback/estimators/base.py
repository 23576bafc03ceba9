"""What the estimators share: from arguments and data to a trained network, and what it shows."""

from __future__ import annotations

import copy
import inspect
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import jsontext, sealed, tensors, tree
from ..errors import ConfigError, DataError, ShapeError, nearest
from ..loss import Loss
from ..maps import Net
from ..optim import resolve
from ..train import Learner, Task
from . import passes, settings, written
from .callbacks import CallbackSupport, Calls, with_callbacks
from .training import (
    Course,
    Examples,
    arithmetic,
    batch_of,
    train,
    warn_unless_done,
)

# Arguments that say the network layer by layer: `net` takes their place.
_LAYERS = (
    "hidden",
    "activation",
    "normalization",
    "dropout",
    "input_dropout",
    "initializer",
    "bias",
)
_PRECISIONS = {
    None: (np.float64, np.float32),
    "float32": np.float32,
    "float64": np.float64,
    "bfloat16": np.float32,
}
_DEVICES = (None, "cpu", "gpu")


# Of the folder that `save` writes.
KIND, FORMAT = "estimator", 1
ARRAYS, DESCRIPTION = "arrays.safetensors", "estimator.json"

# What is learnt beside the arrays, as far as an estimator has it.
_LEARNT = (
    "n_features_in_",
    "feature_names_in_",
    "classes_",
    "n_targets_",
    "n_iter_",
    "history_",
    "loss_",
    "best_epoch_",
    "net_",
    "_loss",
    "_rule",
    "_by_class",
    "_several",
    "_flat",
    "_label_type",
    "_dtype",
)
_TYPES = ("_label_type", "_dtype")


class _Held(NamedTuple):
    """Examples that are held out, as the user gave them.

    Shapes: X (n, d), y (n,) or (n, k), weight (n,)
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray
    weighted: bool

    def score(self, scorer: Any, estimator: Any) -> float:
        """What a scorer of scikit-learn says of an estimator on these."""
        told = {"sample_weight": self.weight} if self.weighted else {}
        return float(scorer(estimator, self.X, self.y, **told))


class Network(CallbackSupport, BaseEstimator):
    """A network as an estimator of scikit-learn. A subclass says what its targets are.

    A subclass stores its arguments, writes `_targets` and the predictions, and sets `_scored`.
    """

    # What its arguments are is said by the subclass, whose __init__ stores them.
    hidden: Any
    activation: Any
    normalization: Any
    dropout: Any
    input_dropout: float
    initializer: Any
    bias: bool
    net: Any
    loss: Any
    penalty: Any
    augment: Any
    image: Any
    rule: Any
    learning_rate: Any
    epochs: int
    batch_size: Any
    validation_fraction: float
    metric: Any
    patience: int
    tol: float
    warm_start: bool
    precision: Any
    device: Any
    random_state: Any
    verbose: Any

    net_: Net
    params_: Any
    state_: Any
    n_features_in_: int
    _rule_state: Any
    _dtype: np.dtype

    _classifies = False
    _scored: str

    @with_callbacks
    def fit(self, X, y, sample_weight=None, *, validation_data=None):
        """Train. Callbacks of scikit-learn are called around the fit and around each epoch.

        Args:
            X: (n, d), dense or sparse, or a data frame of numbers. Sparse ones are made dense.
                float32 is trained in float32, all else in float64, unless `precision` says so.
            y: what to learn.
            sample_weight: (n,), not negative. An example of weight 0 is as one that is not there.
            validation_data: (X, y) or (X, y, sample_weight) of other examples, by which the best
                weights are chosen; instead of `validation_fraction`.

        Returns:
            The estimator itself.

        Raises:
            DivergedError: a value was not finite.
            ConfigError: an argument of the constructor is not what it must be.
            ValueError: the data are not.
        """
        again = self.warm_start and hasattr(self, "params_")
        X, y = self._both(X, y)
        X, y, weight = self._counted(X, self._tidy(y), sample_weight)
        self._learn(y, weight, again)
        seed = self._seed(again)
        held = self._held(validation_data, X.dtype)
        if held is None and self.validation_fraction:
            X, y, weight, held = self._split(X, y, weight, seed)
        calls = Calls(self, self.epochs)
        calls.begin(X, y, None if sample_weight is None else weight)
        outcome, course = self._train(X, y, weight, held, again, seed, self.epochs, calls)
        self.n_iter_, self.history_ = outcome.epochs, outcome.history
        self.loss_ = outcome.history["loss"][-1]
        self.best_epoch_ = outcome.best
        calls.end()
        warn_unless_done(outcome, course)
        return self

    def _go_on(self, X, y, sample_weight, classes=None):
        """Train one epoch, from the first weights or from those that there are."""
        again = hasattr(self, "params_")
        X, y = self._both(X, y, reset=not again)
        X, y, weight = self._counted(X, self._tidy(y), sample_weight)
        self._learn(y, weight, again, classes)
        outcome, _ = self._train(X, y, weight, None, again, self._seed(again), 1)
        before = self.history_ if again else {}
        self.history_ = {"loss": [*before.get("loss", []), *outcome.history["loss"]]}
        self.n_iter_ = outcome.epochs + (self.n_iter_ if again else 0)
        self.loss_, self.best_epoch_ = self.history_["loss"][-1], None
        return self

    def save(self, path: str | Path) -> None:
        """Write the estimator, whole or not at all, over an older one; `load` reads it.

        The folder holds a safetensors file of all arrays, a JSON file of all else, and the sums of
        both. There is no code in it.

        Raises:
            ConfigError: an argument is a function, or an object from elsewhere.
            OutputError: it could not be written.
        """
        check_is_fitted(self)
        learnt = {name: getattr(self, name) for name in _LEARNT if hasattr(self, name)}
        learnt |= {name: str(learnt[name]) for name in _TYPES if name in learnt}
        description = {
            "format": FORMAT,
            "estimator": type(self).__name__,
            "arguments": {
                name: written.encode(value, name)
                for name, value in self.get_params(deep=False).items()
            },
            "fitted": {name: written.encode(value, name) for name, value in learnt.items()},
        }
        arrays = tree.named(
            {"params": self.params_, "state": self.state_, "rule": self._rule_state}
        )
        contents = {
            ARRAYS: tensors.encode(arrays),
            DESCRIPTION: (jsontext.encode(description, indent=2) + "\n").encode(),
        }
        sealed.write(Path(path), KIND, contents)

    def _restore(self, learnt: dict[str, Any]) -> None:
        """Take back what was learnt, but the arrays.

        Raises:
            ValueError: it is not what is learnt.
        """
        wanted = {"net_": Net, "_loss": Loss, "n_features_in_": int, "_dtype": str}
        strange = [name for name in learnt if name not in _LEARNT]
        strange += [name for name, kind in wanted.items() if not isinstance(learnt.get(name), kind)]
        if strange or learnt["_dtype"] not in ("float32", "float64"):
            raise ValueError(f"{strange or ['_dtype']} are not what an estimator learns")
        self.__dict__.update(learnt)
        self.__dict__.update({name: np.dtype(learnt[name]) for name in _TYPES if name in learnt})

    def activations(self, X) -> dict[str, np.ndarray]:
        """The output of every node of the network for each row, by the node's name.

        Args:
            X: (n, d).

        Returns:
            Arrays of n rows, in the order of the nodes; the last one is the network's output.
        """
        found = self._pass(passes.wires, X)
        return {node.name: found[node.name] for node in self.net_.nodes}

    def jacobian(self, X) -> np.ndarray:
        """The derivative of each output of the network by each feature, by the reverse on x.

        The outputs are those before the link: for classes the logits.

        Args:
            X: (n, d).

        Returns:
            (n, outputs, d)
        """
        return self._pass(passes.jacobian, X)

    def _pass(self, call, X):
        """Apply a function of the network to rows, in the arithmetic of the trained weights."""
        X = self._inputs(X)
        with arithmetic(X.dtype, self.device):
            held = self.params_, self.state_
            return passes.in_blocks(lambda x: call(self.net_, *held, x), X)

    def _outputs(self, X):
        """The network's output z, and the prediction that it stands for."""
        X = self._inputs(X)
        with arithmetic(X.dtype, self.device):
            held = self._loss, self.params_, self.state_
            return passes.in_blocks(lambda x: passes.outputs(self.net_, *held, x), X)

    def _inputs(self, X):
        """Rows to be predicted, in the type of the trained weights."""
        check_is_fitted(self)
        checked: Any = validate_data(self, X, accept_sparse="csr", dtype=self._dtype, reset=False)
        return checked

    def _both(self, X, y, dtype: Any = None, reset: bool = True) -> Any:
        """Examples as scikit-learn wants them checked, rows and targets."""
        if dtype is None:
            if self.precision not in _PRECISIONS:
                raise ConfigError(
                    "precision must be 'float32', 'float64', 'bfloat16' or None, "
                    f"got {self.precision!r}"
                )
            dtype = _PRECISIONS[self.precision]
        return validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=dtype,
            multi_output=True,
            y_numeric=not self._classifies,
            reset=reset,
        )

    def _gradient_by_input(self, X, dy):
        """Gradient × input of Σ_j dy_j z_j for each row."""
        X = self._inputs(X)
        X = _dense(X, X.dtype)
        both = np.concatenate([X, dy.astype(X.dtype)], axis=1)
        d = X.shape[1]
        with arithmetic(X.dtype, self.device):
            held = self.params_, self.state_
            grads = passes.in_blocks(
                lambda rows: passes.gradient(self.net_, *held, rows[:, :d], rows[:, d:]), both
            )
        return grads * X

    def _tidy(self, y) -> np.ndarray:
        """Targets as an array of the shape that they have, or a sentence why not."""
        raise NotImplementedError

    def _learn(self, y, weight, again: bool, classes=None) -> None:
        """Learn from y what targets there are; going on, they must be those of before."""
        raise NotImplementedError

    def _targets(self, y, dtype) -> np.ndarray:
        """The columns that the loss takes, (n, k)."""
        raise NotImplementedError

    def _counted(self, X, y, sample_weight):
        """The examples that count, with their weights."""
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("sample_weight: every weight is zero, and nothing can be learnt")
        counts = weight > 0
        return (X, y, weight) if counts.all() else (X[counts], y[counts], weight[counts])

    def _with_classes(self, y, weight):
        """The weights of examples with those of their classes."""
        return weight

    def _examples(self, X, y, weight) -> Examples:
        weight = np.asarray(self._with_classes(y, weight), X.dtype)
        # Only their ratios count: the greatest is 1, so that no sum overflows.
        return Examples(_dense(X, X.dtype), self._targets(y, X.dtype), weight / weight.max())

    def _held(self, data, dtype) -> _Held | None:
        """Other examples, by which the best weights are chosen."""
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError(
                f"validation_data must be (X, y) or (X, y, sample_weight), got {type(data)}"
            )
        X, y = self._both(data[0], data[1], dtype, reset=False)
        weight = data[2] if len(data) == 3 else None
        return _Held(*self._counted(X, self._tidy(y), weight), weight is not None)

    def _split(self, X, y, weight, seed):
        """Take the validation part out of the examples."""
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(
                f"validation_fraction must be in [0, 1), got {self.validation_fraction!r}"
            )
        weighted = bool((weight != weight[0]).any())
        parts: Any = train_test_split(
            X,
            y,
            weight,
            test_size=self.validation_fraction,
            random_state=seed % 2**32,
            stratify=self._strata(y),
        )
        X, X_held, y, y_held, weight, weight_held = parts
        return X, y, weight, _Held(X_held, y_held, weight_held, weighted)

    def _strata(self, y):
        """By what a random split is even."""
        return None

    def _seed(self, again: bool) -> int:
        """The seed of this training: another one each time that training goes on."""
        if not again or not hasattr(self, "_random_state"):
            self._random_state = check_random_state(self.random_state)
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _train(
        self, X, y, weight, held: _Held | None, again: bool, seed: int, epochs: int, calls=None
    ):
        """Build the task, train it, and keep what was trained."""
        examples = self._examples(X, y, weight)
        course = self._course(len(examples.x), seed, epochs)
        task = self._task(examples, course)
        dtype = examples.x.dtype
        learner = self._learner(dtype) if again else None

        def fitted(learner: Learner) -> dict[str, Any]:
            return self._fitted(task, jax.tree.map(np.asarray, learner), dtype)

        def trained(learner: Learner):
            """A copy that predicts with the weights of a training so far."""
            twin = copy.copy(self)
            twin.__dict__.update(fitted(learner))
            return twin

        if self._scorer is not None:
            if held is None:
                raise ConfigError(
                    f"metric={self.metric!r} wants a validation part, and there is none",
                    next="set validation_fraction, or give validation_data to fit",
                )
            scorer = self._scorer
            course = replace(course, judge=lambda learner: held.score(scorer, trained(learner)))
        if calls:
            course = replace(
                course,
                begin_epoch=calls.begin_epoch,
                end_epoch=lambda learner: calls.end_epoch(lambda: fitted(learner)),
            )
        validation = None if held is None else self._examples(held.X, held.y, held.weight)
        outcome = train(task, examples, course, validation, learner, self.device)
        self.__dict__.update(self._fitted(task, outcome.learner, dtype))
        return outcome, course

    def _fitted(self, task: Task, learner: Learner, dtype) -> dict[str, Any]:
        """What a trained network is told by."""
        return {
            "net_": task.net,
            "params_": learner.params,
            "state_": learner.state,
            "_rule_state": learner.rule_state,
            "_dtype": np.dtype(dtype),
        }

    def _course(self, n: int, seed: int, epochs: int) -> Course:
        for name, least in (("epochs", 1), ("patience", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, got {value}")
        if self.device not in _DEVICES:
            raise ConfigError(f"device must be 'cpu', 'gpu' or None, got {self.device!r}")
        metric, self._scorer = self._judged()
        self._rule = settings.rule(self.rule, self.learning_rate)
        size = batch_of(self._rule, self.batch_size, n)
        patience = 0 if epochs == 1 else self.patience
        return Course(epochs, size, patience, self.tol, metric, seed, self._tell)

    def _judged(self) -> tuple[str, Any]:
        """The name of the metric, and the scorer of one that the compiled evaluation lacks."""
        if self.metric in ("loss", self._scored):
            return self.metric, None
        if callable(self.metric):
            return getattr(self.metric, "__name__", "score"), self.metric
        names = get_scorer_names()
        if self.metric not in names:
            raise ConfigError(
                f"metric must be 'loss', '{self._scored}', a scorer's name or a function, "
                f"got {self.metric!r}",
                next=nearest(str(self.metric), names),
            )
        return self.metric, get_scorer(self.metric)

    @property
    def _tell(self):
        if not self.verbose:
            return None
        every = max(1, int(self.verbose))

        def tell(epoch, row):
            if epoch % every == 0:
                told = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
                print(f"epoch {epoch}: {told}", file=sys.stderr)

        return tell

    def _task(self, examples: Examples, course: Course) -> Task:
        """What is trained and how, as the arguments and the data say."""
        columns = examples.targets.shape[1]
        net = self._network(self._loss.width(columns))
        x = jax.ShapeDtypeStruct((1, examples.x.shape[1]), examples.x.dtype)
        width = self._loss.width(columns)
        with arithmetic(examples.x.dtype):
            output = net.shapes(x)[net.nodes[-1].name].shape
            if output != (1, width):
                raise ShapeError(
                    f"the network gives {output[1:]} for each example, data and loss want "
                    f"({width},)",
                    where="the argument net",
                    next="change the width of the last affine layer",
                )
            penalty = settings.penalty(self.penalty)
            penalty.check(jax.eval_shape(net.init, jax.random.key(0), x)[0])
        steps = -(-len(examples.x) // course.batch_size)
        rule = resolve(self._rule, steps, steps * course.epochs)
        augment = settings.augmentation(
            self.augment,
            self.image,
            examples.x.shape[1],
            course.batch_size,
            self._loss,
            examples.targets,
        )
        return Task(
            net,
            self._loss,
            rule,
            penalty,
            augment,
            classifies=self._classifies,
            products="bfloat16" if self.precision == "bfloat16" else "full",
        )

    def _network(self, outputs: int) -> Net:
        given = {name: getattr(self, name) for name in _LAYERS}
        if self.net is None:
            return settings.network(outputs, **given)
        defaults = inspect.signature(type(self).__init__).parameters
        idle = [name for name, value in given.items() if value != defaults[name].default]
        if idle:
            raise ConfigError(
                f"{idle[0]}={given[idle[0]]!r} has no use beside net, which says every layer",
                next="give one of the two",
            )
        return settings.layers(self.net)

    def _learner(self, dtype) -> Learner:
        """What was trained before, to go on from."""
        if dtype != self._dtype:
            raise DataError(
                f"training cannot go on in {np.dtype(dtype)}: it began in {self._dtype}",
                next="give X in that type",
            )
        return Learner(self.params_, self.state_, self._rule_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "params_")

    _loss: Loss


def _dense(X, dtype) -> np.ndarray:
    """Rows as an array of NumPy.

    Raises:
        DataError: sparse ones that would take more than half of the machine's memory.
    """
    if not hasattr(X, "toarray"):
        return np.ascontiguousarray(X, dtype)
    wanted = X.shape[0] * X.shape[1] * np.dtype(dtype).itemsize
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > there / 2:
        raise DataError(
            f"sparse X of shape {X.shape} takes {wanted / 1e9:,.1f} GB when it is made dense, and "
            f"this machine has {there / 1e9:,.0f} GB",
            next="train by partial_fit on parts, or reduce the features, as by TruncatedSVD",
        )
    return X.toarray().astype(dtype, copy=False)
