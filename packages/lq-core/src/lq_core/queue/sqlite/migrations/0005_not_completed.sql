-- Code that knows migration 1 may run beside this.

-- The records that did not complete, from the newest to the oldest. There are not many of them.
CREATE INDEX records_not_completed ON records (status, id)
  WHERE status IN ('failed', 'cancelled', 'expired');
