"""The soak: real workers and producers, ended and stopped at random, and at last the question what has become of it."""

from storms.storm import Storm, Weather
from storms.verdict import Verdict, judge

__all__ = ["Storm", "Verdict", "Weather", "judge"]
