"""The example upstream, for the demo and the tests only: ``python -m devstack.upstream``.

It speaks what the example routes sell (OpenAI chat completions as JSON and as a stream, JSON-RPC,
tool runs, a flat ping), counts what it really answered, and can be told to misbehave: see
:mod:`devstack.upstream.behaviour`. Its token counts follow a rule (:mod:`devstack.upstream.chat`),
so that a test can compute exact amounts. ``GET /_seen`` tells the counts and the last headers by
path, ``GET /_noted`` the answers one by one that were asked to be noted, ``POST /_reset`` forgets
them.
"""
