"""What a configuration needs on Google Cloud: its plan, as gcloud commands and as Terraform, and the checks."""
