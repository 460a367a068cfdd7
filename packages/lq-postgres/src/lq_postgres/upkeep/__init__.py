"""Migrations, retention, and the checks of lq doctor."""
