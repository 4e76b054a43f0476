"""Callbacks for other libraries: what they report goes to the current session. Nothing is imported until one is used.

>>> from tablevault_pd import integrations
>>> sorted(integrations.__all__)
['keras_callback', 'lightgbm_callback', 'optuna_callback', 'sklearn_autolog', 'xgboost_callback']
"""

from __future__ import annotations

from tablevault_pd.integrations.callbacks import (
    keras_callback,
    lightgbm_callback,
    optuna_callback,
    xgboost_callback,
)
from tablevault_pd.integrations.estimators import sklearn_autolog

__all__ = ["keras_callback", "lightgbm_callback", "optuna_callback", "sklearn_autolog", "xgboost_callback"]
