"""
Every SQL statement of the store, written for the schema ``lq``.

:func:`lq_postgres.statements.writing.for_schema` fills in the parts in braces and the schema.
PostgreSQL plans a statement once, without its parameters, so each plan must be good for all of them.
An update therefore takes the rows of an index as ``= ANY(ARRAY(SELECT …))``: a join may read the whole table.
The parameter for the moment is null, and the database uses its own time, unless the backend has a clock of its own.
"""
