"""What random tests draw: the same examples in every ordinary run, others in each long one (``TABLEVAULT_TORTURE``).

An ordinary run passes or fails by the code alone: no clock, no earlier run and no other test decides what is drawn. It does
not shrink what fails, which can take five minutes; ``--hypothesis-profile=shrink`` draws the same examples and does.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from torture.harness import CI, LONG

try:
    from hypothesis.internal.conjecture import providers
except ImportError:  # an older release, which draws no constants
    providers = None

if TYPE_CHECKING:
    import pytest

#: How long an example takes says how busy the machine is. Every state machine has large examples.
UNTIMED = settings(
    settings.get_profile("default"),
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
    print_blob=True,
)


def load() -> None:
    """Load the profile of this run. What a test sets is set on top: call this before tests are imported."""
    settings.register_profile("long", UNTIMED)
    settings.register_profile("shrink", UNTIMED, derandomize=True, database=None)
    settings.register_profile(
        "ordinary",
        settings.get_profile("shrink"),
        phases=(Phase.explicit, Phase.generate, Phase.target),
        max_examples=UNTIMED.max_examples if CI else UNTIMED.max_examples // 3,
    )
    settings.load_profile("long" if LONG else "ordinary")
    if not LONG and hasattr(providers, "_get_local_constants"):
        # Hypothesis draws constants out of the modules that are imported: these depend on the tests that ran before.
        nothing = providers._local_constants
        providers._get_local_constants = lambda: nothing


def choose_seed(config: pytest.Config) -> None:
    """Give a long run a seed, unless one was given. Workers of xdist get that of the process that starts them."""
    if LONG and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(secrets.randbits(64))
