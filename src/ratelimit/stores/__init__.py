"""Where counters live: one protocol, in memory and in Redis."""
