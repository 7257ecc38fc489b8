"""Any OpenAI-compatible server as a model that generates, judges or scores: every reply is kept on disk.

This folder may import `embedded.cache_folder`, `chats`, `sampling` and `warn`, and nothing else of the package: it must
not know models, tokens, engines or judges.

vLLM, Ollama, llama.cpp, ``transformers serve`` and OpenAI all answer ``POST /chat/completions``; vLLM also returns the
log-probabilities of a prompt (`prompt_logprobs`). What is asked of a server is a `Service`, and `ask` is the one way to
get it. Replies cost time or money, so each is written to a folder as soon as it arrives: after a crash, a Ctrl-C or an
error, the same call asks only for what is missing. What a server sends is foreign: whatever it is, it becomes the
result of its one request. Sending needs the package ``openai``; the rest of nbhelpers does not.
"""

from .chat_completions import complete
from .endpoint import Endpoint
from .reading import Reply

__all__ = ["Endpoint", "Reply", "complete"]
