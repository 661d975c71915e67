"""From tensor programs to kernels: each stage is a module with a function of its name.

``canonicalize`` brings a graph into one form, ``decompose`` rewrites what no engine has (rules are
small functions with a picture in the docstring; :mod:`.rules` says how pictures read), ``axes``
finds the atomic axes, ``layout_solver`` chooses, ``direct_lower`` carries it out.
"""

from nkigen_lite.tensor_ir.passes import canonicalize, decompose
from nkigen_lite.tensor_ir.passes.lower_to_nki import lower_graph, lower_to_nki

__all__ = ["canonicalize", "decompose", "lower_graph", "lower_to_nki"]
