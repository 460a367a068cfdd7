"""The schema, as numbered SQL files; :mod:`lq_postgres.upkeep.schema` applies them."""
