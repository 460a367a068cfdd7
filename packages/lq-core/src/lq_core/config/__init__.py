"""What an application sets, and how a backend is found by its name."""
