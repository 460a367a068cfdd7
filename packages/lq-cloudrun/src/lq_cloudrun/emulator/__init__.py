"""
Emulates Cloud Run jobs and worker pools on this machine: Google's clients talk to it, and both run as processes.

It needs the extra ``emulator``. It is not for production.
"""

from lq_cloudrun.emulator.clients import Clients, connected
from lq_cloudrun.emulator.emulator import Emulator
from lq_cloudrun.emulator.execution import ImageFailure, Phase
from lq_cloudrun.emulator.faults import Faults, MethodName
from lq_cloudrun.emulator.held_calls import Hold
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.pool import EmulatedPool
from lq_cloudrun.emulator.rules import NO_LIMITS, RULES, Limits, Rule
from lq_cloudrun.emulator.thread import EmulatorThread

__all__ = [
    "NO_LIMITS",
    "RULES",
    "Clients",
    "EmulatedJob",
    "EmulatedPool",
    "Emulator",
    "EmulatorThread",
    "Faults",
    "Hold",
    "ImageFailure",
    "Limits",
    "MethodName",
    "Phase",
    "Rule",
    "connected",
]
