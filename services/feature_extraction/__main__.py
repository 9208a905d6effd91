"""`python -m services.feature_extraction`."""

from __future__ import annotations

import sys

from services.feature_extraction.service import main

if __name__ == "__main__":
    sys.exit(main())
