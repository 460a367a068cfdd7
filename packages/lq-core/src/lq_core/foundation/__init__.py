"""What every room needs: errors, the clock, the log, imports by path, and checked values."""
