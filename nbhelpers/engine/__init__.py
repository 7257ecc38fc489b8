"""Token ids in, log-probabilities out.

May import: `models` (for the type of the model), `warn`, and nothing else of the package. Must not know: text,
tokenizers, prompts, answers. The rest of the package uses the names below and nothing else from this folder, so that
how a model is run (trees, caches, slices of the head) stays in here.

From the bottom up: `batches` has the shared types, `memory` the budgets; `capabilities` says what a model supports;
`head` turns hidden states into numbers; `plain` is the reference engine; `packed` reads each distinct prefix once, with
`prefix_tree`, `attention` and `path_cache`; `verify` compares the two; `run` chooses. `decoding` continues prompts,
`batch_generation` those of one batch, and `padding` finds out what may share a batch. `subtrees` cuts requests into
pieces that can be run one by one, and `progress` has one bar for all of them.
"""

from .batches import Columns, Request, split
from .decoding import Continuation, continue_prompts, prompt_batches
from .head import LOG_PROBABILITIES, Reduction
from .progress import Progress, Stretch, bar_of
from .run import Engine, score_requests
from .subtrees import balanced_subtrees, deal, whole_subtrees

__all__ = [
    "LOG_PROBABILITIES",
    "Columns",
    "Continuation",
    "Engine",
    "Progress",
    "Reduction",
    "Request",
    "Stretch",
    "balanced_subtrees",
    "bar_of",
    "continue_prompts",
    "deal",
    "prompt_batches",
    "score_requests",
    "split",
    "whole_subtrees",
]
