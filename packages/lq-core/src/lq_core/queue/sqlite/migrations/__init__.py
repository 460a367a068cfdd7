"""The schema, as numbered steps: ``0001_*.sql`` first; a step that has been released is never changed."""
