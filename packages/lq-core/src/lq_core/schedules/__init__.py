"""Calls that repeat by a plan: plans, schedules and their stored state."""
