"""Property tests: few examples, the same each time, unless MPACS_LONG asks for many new ones."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick", max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("long" if os.environ.get("MPACS_LONG") else "quick")
