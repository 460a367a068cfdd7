"""
Emulates Cloud Run Jobs on this machine: Google's own clients talk to it, and jobs run as local processes.

Needs the extra ``emulator``. Nothing of it is meant for production.
"""

from lq_cloudrun.emulator.clients import Clients, connected
from lq_cloudrun.emulator.emulator import Emulator
from lq_cloudrun.emulator.execution import ImageFailure, Phase
from lq_cloudrun.emulator.faults import Faults, MethodName
from lq_cloudrun.emulator.hold import Hold
from lq_cloudrun.emulator.job import EmulatedJob
from lq_cloudrun.emulator.thread import EmulatorThread

__all__ = [
    "Clients",
    "EmulatedJob",
    "Emulator",
    "EmulatorThread",
    "Faults",
    "Hold",
    "ImageFailure",
    "MethodName",
    "Phase",
    "connected",
]
