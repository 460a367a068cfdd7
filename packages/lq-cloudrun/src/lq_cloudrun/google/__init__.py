"""Google's clients: how they are created, the calls that lq makes, and the meaning of their errors."""
