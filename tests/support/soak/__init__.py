"""The soak test: real workers and producers, ended and frozen at random, and a check of what they leave behind."""

from soak.result import SoakResult, check_soak
from soak.run import Soak, SoakPlan

__all__ = ["Soak", "SoakPlan", "SoakResult", "check_soak"]
