"""Tasks of a fit, which are reported to scikit-learn's callbacks.

scikit-learn 1.9 introduced callbacks such as :class:`sklearn.callback.ProgressBar`. An estimator
divides its fit into a tree of tasks, and calls the callbacks at the beginning and at the end of
each. Earlier versions have no callbacks: nothing is reported there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    # scikit-learn 1.8 has no callbacks. These two replacements do nothing.

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replace scikit-learn's mixin. Without ``set_callbacks`` there are no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method itself."""
        return method


__all__ = ["CallbackSupportMixin", "FitRoot", "FitTask", "reported", "with_callbacks"]

F = TypeVar("F", bound=Callable[..., Any])


class FitTask:
    """A task of a fit, or nothing if the estimator has no callbacks.

    It can be pickled, so that worker processes report the tasks that they run.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext, default=None
        None if the estimator has no callbacks.
    estimator : estimator, default=None
        Passed to the callbacks of this task.

    Examples
    --------
    >>> task = FitTask()
    >>> with task.subtask("train", n_subtasks=3) as training:
    ...     for _ in range(3):
    ...         with training.subtask("epoch"):
    ...             pass
    """

    def __init__(self, context: Any = None, estimator: Any = None) -> None:
        self._context = context
        self._estimator = estimator

    @property
    def is_reported(self) -> bool:
        """Whether there are callbacks."""
        return self._context is not None

    @contextlib.contextmanager
    def subtask(
        self, name: str, *, number: int | None = None, n_subtasks: int = 0, is_ordered: bool = True
    ) -> Iterator[FitTask]:
        """Report the beginning and the end of a part of this task.

        The end of a part that raises an exception is not reported, as in scikit-learn.

        Parameters
        ----------
        name : str
        number : int, default=None
            Number of the part, if the parts of this task are not in order.
        n_subtasks : int, default=0
            Number of parts that the part consists of.
        is_ordered : bool, default=True
            Whether these parts run one after the other. If they do not, each must get a number of
            its own.

        Yields
        ------
        FitTask
        """
        task = self.begin_subtask(name, number=number, n_subtasks=n_subtasks, is_ordered=is_ordered)
        yield task
        # There is no `finally`, so that a part that raises is not reported as finished.
        task.end()

    def begin_subtask(
        self, name: str, *, number: int | None = None, n_subtasks: int = 0, is_ordered: bool = True
    ) -> FitTask:
        """Report the beginning of a part, and return it. Call its ``end``."""
        if self._context is None:
            return self
        context = self._context.subcontext(
            task_name=name,
            task_id=number,
            max_subtasks=n_subtasks,
            sequential_subtasks=is_ordered,
        )
        context.call_on_fit_task_begin(estimator=self._estimator)
        return FitTask(context, self._estimator)

    def end(self, metadata: dict[str, Any] | None = None) -> bool:
        """Report the end of the task.

        Parameters
        ----------
        metadata : dict, default=None
            Results of the task for the callbacks, such as the loss of an epoch.

        Returns
        -------
        bool
            Whether a callback requests to stop the loop that contains this task.
        """
        if self._context is None:
            return False
        return bool(
            self._context.call_on_fit_task_end(estimator=self._estimator, metadata=metadata)
        )


class FitRoot:
    """The fit of an estimator as a whole, reported to its callbacks.

    Parameters
    ----------
    estimator : estimator
    n_subtasks : int
        Number of parts that the fit consists of.
    X, y : array-like
        The data of the fit, for callbacks that compute scores.
    sample_weight : array-like, default=None
    """

    def __init__(
        self, estimator: Any, n_subtasks: int, X: Any, y: Any, sample_weight: Any = None
    ) -> None:
        self._estimator = estimator
        self._data = {"X": X, "y": y}
        if sample_weight is not None:
            self._data["metadata"] = {"sample_weight": sample_weight}
        self._context = None
        # scikit-learn sets this attribute when callbacks are registered with the estimator.
        if getattr(estimator, "_skl_callbacks", None):
            self._context = estimator._init_callback_context(max_subtasks=n_subtasks)
            self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    @property
    def task(self) -> FitTask:
        """The task that its parts belong to.

        Its parts may run in other processes. Their callbacks therefore receive an estimator that
        has the same parameters and is not fitted.
        """
        if self._context is None:
            return FitTask()
        # The copy has the parameters only, and neither callbacks nor fitted attributes.
        parameters = self._estimator.get_params(deep=False)
        return FitTask(self._context, type(self._estimator)(**parameters))

    def end(self) -> None:
        """Report the end of the fit. From now on the callbacks can predict with the estimator."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )


def reported(fit: F) -> F:
    """Report a fit that has no parts, such as that of a transformer, to scikit-learn's callbacks.

    Parameters
    ----------
    fit : callable
        Method ``fit(self, X, y=None, ...)`` of a class that inherits from
        :class:`CallbackSupportMixin`.
    """

    @functools.wraps(fit)
    @with_callbacks
    def reported_fit(self: Any, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        root = FitRoot(self, 0, X, y)
        fit(self, X, y, *args, **kwargs)
        root.end()
        return self

    return cast(F, reported_fit)
