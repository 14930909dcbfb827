"""BaseCombined: binary networks, combined by scikit-learn's meta-estimators."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn import config_context

from .._tail.rows import TrainingRows
from .._tail.tail import Tail
from .._utils.device import in_worker
from .base import BaseResNet
from .training_record import training_record


@dataclass(kw_only=True, eq=False, repr=False)
class BaseCombined(BaseResNet):
    """Base class of the classifiers that consist of several binary problems."""

    def _fit_combiner(self, combiner: Any, rows: TrainingRows) -> None:
        """Fit scikit-learn's meta-estimator on row numbers."""
        # joblib's backend for Dask does not take n_jobs into account. Without this, a worker of
        # Dask would send the problems, with all activations, on to other workers.
        backend: AbstractContextManager[None] = nullcontext()
        if self.n_jobs == 1 or (self.n_jobs is None and in_worker()):
            backend = parallel_config(backend="sequential")
        # Nothing needs to be routed: weights and validation part are in the rows.
        with config_context(enable_metadata_routing=False), backend:
            self.combiner_ = combiner.fit(np.arange(rows.n_rows)[:, None], rows.codes)

    def _adopt(self, estimators: list[Tail], rows: TrainingRows) -> None:
        """Keep the fitted tails. Those from other processes get the rows of this process again."""
        for tail in estimators:
            tail.rows = rows
        self.estimators_ = estimators

    @property
    def _tails(self) -> list[Tail]:
        return self.estimators_

    def _record_training(self) -> None:
        records = [training_record(tail) for tail in self.estimators_]
        for name in records[0]:
            values = [record[name] for record in records]
            # Without early stopping there are no validation scores in any of them.
            is_absent = all(value is None for value in values)
            setattr(self, name, None if is_absent else values)
