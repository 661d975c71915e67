"""``python -m nkigen_lite``: the same as ``nkigen-lite``."""

import sys

from nkigen_lite.cli import main

sys.exit(main())
