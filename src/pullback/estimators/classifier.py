"""Classes, and labels that do not exclude each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from ..errors import ConfigError, DataError
from ..loss import SigmoidCrossEntropy, SoftmaxCrossEntropy, balanced
from ..maps import Sigmoid, Softmax
from . import settings
from .base import Network

_LOGISTIC = (SoftmaxCrossEntropy, SigmoidCrossEntropy)


def _gives_probabilities(estimator: Any) -> bool:
    """Whether predictions are probabilities: by the loss's link, or by the last map of `net`."""
    loss = settings.loss(estimator.loss, "softmax-cross-entropy")
    if isinstance(loss, _LOGISTIC):
        return True
    net = None if estimator.net is None else settings.layers(estimator.net)
    squashed = net is not None and isinstance(net.nodes[-1].map, Softmax | Sigmoid)
    if loss.probabilities and squashed:
        return True
    raise AttributeError(
        f"{loss} gives scores, no probabilities; take a cross-entropy, or decision_function"
    )


class NetworkClassifier(ClassifierMixin, Network):
    """A network that tells classes: two or more, or several labels at once.

    Every derivative is a written map of `pullback`, and training is `pullback.train.fit`.

    Names are those of an experiment file ("relu", "batch-norm", "adam", …); wherever one is taken,
    so is a dict with the name and fields (``{"name": "momentum", "learning_rate": 0.1}``), or an
    object of `pullback`. The arithmetic has the type of X: float32, else float64. Inputs are taken
    as they are: scale them, as by `StandardScaler`.

    The first fit of a shape compiles a program. Shapes are powers of two (see `packed.py`), so fits
    of similar sizes with equal settings share it; another setting, such as another learning rate,
    is another program. With a batch-norm each number of examples in the last batch is, too.

    That an example of weight 2 is as good as two holds to rounding where a step sees all examples,
    as it does up to 200 of them, and without dropout and batch-norm.

    Args:
        hidden: the widths of the hidden layers; () for a linear model.
        activation: after each hidden layer; a list has one for each.
        normalization: before each activation, such as "layer-norm"; None for none.
        dropout: the rate after each activation; a list has one for each.
        input_dropout: the rate on the inputs.
        initializer: of the weights.
        bias: whether affine maps have one; one before a batch-norm never does.
        net: a whole network, instead of all these. It ends in as many outputs as the loss wants.
        loss: None takes softmax-cross-entropy for three classes or more, and
            sigmoid-cross-entropy for two classes and for labels. A pair (value, reverse) of
            functions of logits and targets is a loss of your own; see `pair.py`.
        penalty: on the weights; a number is the strength of an L2 penalty: strength/2 · Σ w².
        augment: random changes of the batches of training, such as ["elastic"]; those of pictures
            want `image`.
        image: (height, width) or (height, width, channels) of a row of X.
        rule: how gradients become updates; one of Optax serves, too. "lbfgs" and its kin see all
            examples in each step, and suit small data.
        learning_rate: a number or a schedule, for a rule that is only named; None takes 0.1 for
            "sgd" and "momentum", and 0.001 for others.
        epochs: at most so many passes over the examples.
        batch_size: examples per step; "auto" is 200, or all if they are fewer.
        validation_fraction: how much of the examples is held out to choose the best weights.
        metric: what judges the validation part: "loss", "accuracy", another name of a scorer of
            scikit-learn, or a function of (estimator, X, y), of which more is better.
        patience: training ends after so many epochs without a better one, by the validation part,
            or, where there is none, by the loss of training; 0 for never. The loss of training is
            looked at after each epoch, or after 32 steps where an epoch has fewer.
        tol: how much better an epoch must be, to count as better.
        class_weight: how much each class counts, a dict by label; "balanced" gives every class the
            same say.
        warm_start: whether fit goes on from the weights of the fit before.
        precision: "float32" or "float64", whatever X is; None follows X. "bfloat16" is float32 with
            the factors of products rounded while it trains, for machines that multiply them faster.
        device: "cpu" or "gpu"; None takes the best there is.
        random_state: of the first weights, the order, masks and the split.
        verbose: print each so-manieth epoch to stderr; True prints all.

    Attributes:
        classes_: the labels; for several at once their numbers.
        net_, params_, state_: the network, and its weights as NumPy arrays.
        history_: lists with an entry for each epoch: "loss", and with validation
            "validation_loss", "validation_accuracy" and another metric by its name.
        n_iter_: the epochs of the last fit, or of all calls of partial_fit.
        loss_: the last loss of training, without the penalty.
        best_epoch_: the epoch whose weights were kept, with validation; 0 for the first weights.

    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["low", "low", "high", "high"])
    >>> NetworkClassifier((), rule="lbfgs", penalty=0.01).fit(X, y).predict([[0.5], [2.5]]).tolist()
    ['low', 'high']
    """

    _classifies = True
    _scored: str = "accuracy"
    classes_: np.ndarray

    def __init__(
        self,
        hidden: Any = (100,),
        activation: Any = "relu",
        *,
        normalization: Any = None,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        initializer: Any = "glorot",
        bias: bool = True,
        net: Any = None,
        loss: Any = None,
        penalty: Any = None,
        augment: Any = None,
        image: Any = None,
        rule: Any = "adam",
        learning_rate: Any = None,
        epochs: int = 200,
        batch_size: Any = "auto",
        validation_fraction: float = 0.0,
        metric: Any = "loss",
        patience: int = 10,
        tol: float = 1e-4,
        class_weight: Any = None,
        warm_start: bool = False,
        precision: Any = None,
        device: Any = None,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.hidden = hidden
        self.activation = activation
        self.normalization = normalization
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.initializer = initializer
        self.bias = bias
        self.net = net
        self.loss = loss
        self.penalty = penalty
        self.augment = augment
        self.image = image
        self.rule = rule
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.metric = metric
        self.patience = patience
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train one epoch over these examples, from where training stands.

        Args:
            X: (n, d), as in fit.
            y: (n,), or (n, labels).
            classes: all labels that will ever come; wanted in the first call, except with several
                labels at once.
            sample_weight: (n,).

        Returns:
            The estimator itself.
        """
        if self.class_weight == "balanced":
            raise ConfigError(
                "class_weight='balanced' wants all examples, and partial_fit sees a part",
                next="give a dict by label",
            )
        if classes is not None:
            classes = np.unique(classes)
            if hasattr(self, "params_") and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"classes={classes} are not those of the first call, {self.classes_}"
                )
        elif not hasattr(self, "params_") and np.ndim(y) < 2:
            raise ValueError("classes must be given in the first call of partial_fit")
        return self._go_on(X, y, sample_weight, classes)

    def predict(self, X) -> np.ndarray:
        """The class of each row, (n,); of several labels whether it has each, (n, labels)."""
        _, found = self._outputs(X)
        if self._several:
            return (found > 0.5).astype(self._label_type)
        if found.shape[1] == 1:
            return self.classes_[(found[:, 0] > 0.5).astype(int)]
        return self.classes_[found.argmax(axis=1)]

    @available_if(_gives_probabilities)
    def predict_proba(self, X) -> np.ndarray:
        """The probability of each class, (n, classes), or of each label, (n, labels)."""
        _, found = self._outputs(X)
        if self._several or found.shape[1] == 1:
            # A sigmoid is never 0 or 1, but for rounding.
            least = np.finfo(found.dtype).eps
            found = np.clip(found, least, 1 - least)
        if self._several:
            return found
        if found.shape[1] == 1:
            return np.concatenate([1 - found, found], axis=1)
        # Independent sigmoids of classes that exclude each other do not sum to one by themselves.
        return found / found.sum(axis=1, keepdims=True)

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X) -> np.ndarray:
        """The logarithm of the probabilities; −inf for one that is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X) -> np.ndarray:
        """The score of each class or label: its logit; of a loss without logits, its prediction.

        For two classes it is one number, (n,), positive where the second one is predicted.
        """
        z, found = self._outputs(X)
        scores = z if isinstance(self._loss, _LOGISTIC) else found - 0.5
        if self._several or len(self.classes_) > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def saliency(self, X, label=None) -> np.ndarray:
        """Gradient × input: how each feature of each row moves the score of a class, (n, d).

        Args:
            X: (n, d).
            label: the class whose score is meant, one of `classes_`; None takes the class that is
                predicted for each row. With one output for two classes, the score of the first
                class is minus that of the second.

        Raises:
            ValueError: the label is none, or none is given for several labels at once.

        Source: Shrikumar et al. 2017, arXiv:1605.01713, §3 (gradient × input)
        """
        z, found = self._outputs(X)
        if label is None and self._several:
            raise ValueError("saliency wants a label where there are several at once")
        if label is not None and label not in self.classes_:
            raise ValueError(f"label={label!r} is none of {self.classes_}")
        dy = np.zeros_like(z)
        if found.shape[1] == 1 and not self._several:
            chosen = self.predict(X) if label is None else label
            dy[:, 0] = np.where(chosen == self.classes_[1], 1, -1)
        elif label is None:
            dy[np.arange(len(dy)), found.argmax(axis=1)] = 1
        else:
            dy[:, np.flatnonzero(self.classes_ == label)[0]] = 1
        return self._gradient_by_input(X, dy)

    def _tidy(self, y):
        y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise DataError(
                "y has several columns with more than two classes",
                next="train one classifier for each, as by MultiOutputClassifier",
            )
        return y

    def _learn(self, y, weight, again, classes=None):
        self._several = y.ndim == 2
        labels = np.arange(y.shape[1]) if self._several else np.unique(y)
        if again:
            if self._several and len(labels) != len(self.classes_):
                raise ValueError(f"y has {len(labels)} labels, and had {len(self.classes_)}")
        else:
            self.classes_ = labels if classes is None else classes
        if not self._several:
            self._index(y)
        if not self._several and len(self.classes_) < 2:
            raise ValueError(
                f"NetworkClassifier wants at least 2 classes, got 1 class, {self.classes_[0]!r}"
            )
        self._label_type = y.dtype
        few = self._several or len(self.classes_) == 2
        usual = "sigmoid-cross-entropy" if few else "softmax-cross-entropy"
        self._loss = settings.loss(self.loss, usual)
        self._loss.check(y.astype(float) if self._several else None)
        self._by_class = self._weights_by_class(y, weight)

    def _index(self, y) -> np.ndarray:
        """The number of each example's class."""
        index = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if strange := [each for each in np.unique(y).tolist() if each not in self.classes_]:
            raise ValueError(f"y has labels {strange} that are none of the classes {self.classes_}")
        return index

    def _weights_by_class(self, y, weight):
        """How much each class counts, or None where all count alike."""
        wanted = self.class_weight
        if wanted is None:
            return None
        if self._several:
            raise ConfigError(
                "class_weight wants classes that exclude each other, and y has several labels",
                next="give sample_weight",
            )
        if isinstance(wanted, str) and wanted == "balanced":
            return np.array(balanced(self._index(y), len(self.classes_), weight))
        if not isinstance(wanted, dict):
            raise ConfigError(f"class_weight must be a dict by label or 'balanced', got {wanted!r}")
        if strange := [each for each in wanted if each not in self.classes_]:
            raise ConfigError(f"class_weight names {strange}, the classes are {self.classes_}")
        given = np.array([wanted.get(each, 1.0) for each in self.classes_.tolist()], float)
        counts = np.bincount(self._index(y), minlength=len(given))
        if not (np.isfinite(given).all() and given.min() >= 0 and given @ counts > 0):
            raise ConfigError(
                f"class_weight wants numbers of at least 0, not all of them 0, got {wanted!r}"
            )
        return given

    def _with_classes(self, y, weight):
        if self._by_class is None:
            return weight
        return weight * self._by_class[self._index(y)]

    def _targets(self, y, dtype):
        if self._several:
            return y.astype(dtype)
        index, columns = self._index(y), self._loss.columns(len(self.classes_))
        if columns == 1:
            return (index == 1).astype(dtype)[:, None]
        return np.eye(columns, dtype=dtype)[index]

    def _strata(self, y):
        return None if self._several else y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
