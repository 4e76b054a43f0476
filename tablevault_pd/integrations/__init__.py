"""Callbacks for other libraries: what they report goes to the current session. Nothing is imported until one is used.

>>> from tablevault_pd import integrations
>>> from pprint import pprint
>>> pprint(sorted(integrations.__all__), compact=True)
['keras_callback', 'lightgbm_callback', 'lightning_callback', 'optuna_callback',
 'sklearn_autolog', 'transformers_callback', 'xgboost_callback']
"""

from __future__ import annotations

from tablevault_pd.integrations.callbacks import (
    keras_callback,
    lightgbm_callback,
    optuna_callback,
    xgboost_callback,
)
from tablevault_pd.integrations.estimators import sklearn_autolog
from tablevault_pd.integrations.trainers import lightning_callback, transformers_callback

__all__ = [
    "keras_callback",
    "lightgbm_callback",
    "lightning_callback",
    "optuna_callback",
    "sklearn_autolog",
    "transformers_callback",
    "xgboost_callback",
]
