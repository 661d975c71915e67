"""From tensor programs to what engines can do: each stage is a module with a function of its name.

``canonicalize`` brings a graph into one form, ``decompose`` rewrites what no engine has. Their
rules are small functions with a picture in the docstring; :mod:`.rules` says how pictures read.
"""

from nkigen_lite.tensor_ir.passes import canonicalize, decompose

__all__ = ["canonicalize", "decompose"]
