"""One call as a value, and every step of its life."""
