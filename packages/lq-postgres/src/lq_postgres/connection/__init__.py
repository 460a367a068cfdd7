"""How lq connects to PostgreSQL: driver, pool, listener, clock, errors, and transactions of the application."""
