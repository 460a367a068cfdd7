"""Storing and finding records, and how records are written to rows and read from them."""
