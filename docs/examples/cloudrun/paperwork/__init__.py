"""An office whose reports are made by Cloud Run job executions."""
