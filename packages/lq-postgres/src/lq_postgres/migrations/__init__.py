"""The schema, as numbered SQL files; :mod:`lq_postgres.schema` applies them."""
