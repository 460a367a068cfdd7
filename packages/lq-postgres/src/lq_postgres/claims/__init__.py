"""Claiming and settling, with limits and without."""
