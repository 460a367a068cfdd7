"""Dispatch records to executions, pace the dispatch, and reconcile records with executions."""
