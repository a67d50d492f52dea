"""Real Envoy, Postgres and Redis from wheels, for the demo, `make up` and the tests."""
