"""Unary gRPC methods over bytes, and what every transport of them needs: frames, statuses,
timeouts, health, and the roles that are served by them.

Two transports carry them: :mod:`tollkeeper.direct`, which speaks HTTP/2 itself, and
:mod:`tollkeeper.hosted`, where an Envoy does. ``grpc.aio`` brings all of this by itself.
"""
