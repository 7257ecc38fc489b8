"""Models whose answers are known: find out whether a backend returns true log-probabilities.

`write_model` writes a tiny checkpoint, `requests` are asked of whatever serves it, `expected` computes the numbers in
float64 NumPy, and `check_backend` says which properties hold. The command ``nbhelpers-conformance`` does it all.

What is expected must not know how this package computes it: only `backends`, `served` and `command` may import
`models`, `scoring` and `servers`; everything else here imports `reasons` and nothing more of the package, and no torch.
"""

from .checker import check_backend
from .models import ARCHITECTURES, write_model
from .report import PROPERTIES, Conformance, Finding
from .request_list import Request, requests
from .truth import expected

__all__ = [
    "ARCHITECTURES",
    "PROPERTIES",
    "Conformance",
    "Finding",
    "Request",
    "check_backend",
    "expected",
    "requests",
    "write_model",
]
