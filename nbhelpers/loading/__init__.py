"""Model files: which weights from where, looked at before they are opened, and where they go.

May import: `embedded`, `reasons` and `warn`, and nothing else of the package. Must not know: what is computed with a
model.
"""

from .placement import choose_device, choose_dtype
from .reading import OURS, locate, read

__all__ = ["OURS", "choose_device", "choose_dtype", "locate", "read"]
