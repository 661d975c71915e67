"""Whether a kernel's source text is legal NKI, judged from the text alone.

The checker reads a Python file and the vendor's published facts (``facts.json``). It shares nothing
with the emitter or the IRs, so that a mistake there is not repeated here. See :func:`check_source`.
"""

from nkigen_lite.source_check.check import check_file, check_source
from nkigen_lite.source_check.facts import checked_targets
from nkigen_lite.source_check.findings import Problem, Verdict

__all__ = ["Problem", "Verdict", "check_file", "check_source", "checked_targets"]
