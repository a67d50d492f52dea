"""The hosted transport: gRPC served by an Envoy process that runs our Python in itself.

Envoy speaks HTTP/2, and pyvoy's dynamic module hands each request to an ASGI application
(:mod:`tollkeeper.hosted.app`). The same core answers as over ``grpc.aio``, at a fraction of the
CPU. ``docs/decisions/030-transport.md`` says what was measured.
"""
