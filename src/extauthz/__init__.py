"""The front door: decides whether a request may pass, and reserves its credits."""
