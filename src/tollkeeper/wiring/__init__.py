"""Where everything is put together: one module per role, and what they share."""
