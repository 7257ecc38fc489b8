"""What `lm_eval_adapter`, lm-evaluation-harness on our engine, is made of.

May import: everything below `judging`. Must not know: the adapter. `lm_eval` itself is imported only inside functions,
so that the package works without it. `options` checks what is asked of the model, `replies` generates, `differences`
finds the requests that the two boundaries cut differently.
"""
