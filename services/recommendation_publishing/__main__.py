"""`python -m services.recommendation_publishing`."""

from __future__ import annotations

import sys

from services.recommendation_publishing.service import main

if __name__ == "__main__":
    sys.exit(main())
