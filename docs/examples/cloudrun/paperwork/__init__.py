"""An office that makes its reports in executions of a Cloud Run job."""
