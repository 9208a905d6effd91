"""`python -m services.model_update`."""

from __future__ import annotations

import sys

from services.model_update.service import main

if __name__ == "__main__":
    sys.exit(main())
