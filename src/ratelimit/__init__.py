"""The turnstile: decides how often a descriptor may pass."""
