"""Scale a Cloud Run worker pool by the demand of a queue."""
