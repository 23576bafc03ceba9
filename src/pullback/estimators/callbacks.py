"""The callbacks of scikit-learn, in the versions that have them (1.9 and later)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

try:
    from sklearn import callback
except ImportError:
    callback = None


class _NoCallbacks:
    """Nothing: before 1.9 no estimator has callbacks, nor a method to set them."""


CallbackSupport: Any = _NoCallbacks if callback is None else callback.CallbackSupportMixin


def with_callbacks(method: Callable) -> Callable:
    """A method in which callbacks are taken down at the end, whatever ended it."""
    return method if callback is None else callback.with_callbacks(method)


class Calls:
    """The hooks of a fit, whose tasks are its epochs.

    Args:
        estimator: what is fitted.
        epochs: at most so many.
    """

    def __init__(self, estimator: Any, epochs: int):
        self._estimator, self._given = estimator, {}
        self._context: Any = None
        self._epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._context = estimator._init_callback_context(max_subtasks=epochs)

    def __bool__(self) -> bool:
        return self._context is not None

    def begin(self, X, y, weight) -> None:
        """Say that the fit begins, and its first epoch."""
        if self:
            self._given = {
                "estimator": self._estimator,
                "X": X,
                "y": y,
                "metadata": {} if weight is None else {"sample_weight": weight},
            }
            self._context.call_on_fit_task_begin(**self._given)

    def begin_epoch(self) -> None:
        """Say that an epoch begins."""
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given)

    def end_epoch(self, fitted: Callable[[], Mapping[str, Any]]) -> bool:
        """Say that an epoch ended; return whether a callback asks to end the fit.

        Args:
            fitted: gives what the estimator would hold, had it ended here.
        """
        return self._epoch.call_on_fit_task_end(reconstruction_attributes=fitted, **self._given)

    def end(self) -> None:
        """Say that the fit ended."""
        if self:
            self._context.call_on_fit_task_end(reconstruction_attributes={}, **self._given)
