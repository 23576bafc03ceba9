"""What the estimators share: from arguments and data to a trained network, and what it shows."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..errors import ConfigError, DataError, ShapeError
from ..loss import Loss
from ..maps import Net
from ..optim import resolve
from ..train import Learner, Task
from . import passes, settings
from .training import (
    Course,
    Examples,
    Metric,
    Outcome,
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
_DTYPES = (np.float64, np.float32)


class Network(BaseEstimator):
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
    rule: Any
    learning_rate: Any
    epochs: int
    batch_size: Any
    validation_fraction: float
    metric: Metric
    patience: int
    tol: float
    warm_start: bool
    random_state: Any
    verbose: Any

    net_: Net
    params_: Any
    state_: Any
    n_features_in_: int

    _classifies = False
    _scored: Metric

    def fit(self, X, y, sample_weight=None, *, validation_data=None):
        """Train.

        Args:
            X: (n, d), dense or sparse, or a data frame of numbers. Sparse ones are made dense.
                float32 is trained in float32, all else in float64.
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
        validation = self._validation(validation_data, X.dtype)
        if validation is None and self.validation_fraction:
            X, y, weight, validation = self._split(X, y, weight, seed)
        examples = self._examples(X, y, weight)
        outcome, course = self._train(examples, validation, again, seed, self.epochs)
        self.n_iter_, self.history_ = outcome.epochs, outcome.history
        self.loss_ = outcome.history["loss"][-1]
        self.best_epoch_ = outcome.best
        warn_unless_done(outcome, course)
        return self

    def _go_on(self, X, y, sample_weight, classes=None):
        """Train one epoch, from the first weights or from those that there are."""
        again = hasattr(self, "params_")
        X, y = self._both(X, y, reset=not again)
        X, y, weight = self._counted(X, self._tidy(y), sample_weight)
        self._learn(y, weight, again, classes)
        examples = self._examples(X, y, weight)
        outcome, _ = self._train(examples, None, again, self._seed(again), 1)
        before = self.history_ if again else {}
        self.history_ = {"loss": [*before.get("loss", []), *outcome.history["loss"]]}
        self.n_iter_ = outcome.epochs + (self.n_iter_ if again else 0)
        self.loss_, self.best_epoch_ = self.history_["loss"][-1], None
        return self

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
        with arithmetic(X.dtype):
            held = self.params_, self.state_
            return passes.in_blocks(lambda x: call(self.net_, *held, x), X)

    def _outputs(self, X):
        """The network's output z, and the prediction that it stands for."""
        X = self._inputs(X)
        with arithmetic(X.dtype):
            held = self._loss, self.params_, self.state_
            return passes.in_blocks(lambda x: passes.outputs(self.net_, *held, x), X)

    def _inputs(self, X):
        """Rows to be predicted, in the type of the trained weights."""
        check_is_fitted(self)
        checked: Any = validate_data(self, X, accept_sparse="csr", dtype=self._dtype, reset=False)
        return checked

    def _both(self, X, y, dtype: Any = _DTYPES, reset: bool = True) -> Any:
        """Examples as scikit-learn wants them checked, rows and targets."""
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
        with arithmetic(X.dtype):
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

    def _validation(self, data, dtype) -> Examples | None:
        """Other examples, by which the best weights are chosen."""
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise DataError(
                f"validation_data must be (X, y) or (X, y, sample_weight), got {type(data)}"
            )
        X, y = self._both(data[0], data[1], dtype, reset=False)
        return self._examples(*self._counted(X, self._tidy(y), data[2] if len(data) == 3 else None))

    def _split(self, X, y, weight, seed):
        """Take the validation part out of the examples."""
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(
                f"validation_fraction must be in [0, 1), got {self.validation_fraction!r}"
            )
        X, X_held, y, y_held, weight, weight_held = train_test_split(
            X,
            y,
            weight,
            test_size=self.validation_fraction,
            random_state=seed % 2**32,
            stratify=self._strata(y),
        )
        return X, y, weight, self._examples(X_held, y_held, weight_held)

    def _strata(self, y):
        """By what a random split is even."""
        return None

    def _seed(self, again: bool) -> int:
        """The seed of this training: another one each time that training goes on."""
        if not again or not hasattr(self, "_random_state"):
            self._random_state = check_random_state(self.random_state)
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _train(self, examples: Examples, validation, again: bool, seed: int, epochs: int):
        """Build the task, train it, and keep what was trained."""
        course = self._course(len(examples.x), seed, epochs)
        task = self._task(examples, course)
        learner = self._learner(examples.x.dtype) if again else None
        outcome = train(task, examples, course, validation, learner)
        self._keep(task, outcome, examples.x.dtype)
        return outcome, course

    def _course(self, n: int, seed: int, epochs: int) -> Course:
        for name, least in (("epochs", 1), ("patience", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}, got {value}")
        if self.metric not in ("loss", self._scored):
            raise ConfigError(f"metric must be 'loss' or '{self._scored}', got {self.metric!r}")
        self._rule = settings.rule(self.rule, self.learning_rate)
        size = batch_of(self._rule, self.batch_size, n)
        patience = 0 if epochs == 1 else self.patience
        return Course(epochs, size, patience, self.tol, self.metric, seed, self._tell)

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
        return Task(net, self._loss, rule, penalty, classifies=self._classifies)

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

    def _keep(self, task: Task, outcome: Outcome, dtype) -> None:
        self.net_, self._dtype = task.net, np.dtype(dtype)
        self.params_, self.state_, self._rule_state = outcome.learner

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
