"""``python -m umanet``, and what the script ``umanet`` calls."""

import sys

from umanet.cli import main

if __name__ == "__main__":
    sys.exit(main())
