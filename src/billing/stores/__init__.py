"""Where billing keeps things: one protocol per port, each with a memory and a real
implementation."""
