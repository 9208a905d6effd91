"""What all tests share: hypothesis without deadlines, since nothing may depend on how fast the machine is."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("streamrec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("streamrec"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "streamrec"))
