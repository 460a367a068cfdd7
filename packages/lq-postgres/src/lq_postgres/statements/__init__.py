"""
Every statement there is, written for the schema ``lq``; :mod:`lq_postgres.statements.writing` has them for another.

They are planned once, without looking at the parameters, so each must be good for any. What comes from an index is
fed to an update as ``= ANY(ARRAY(SELECT …))``: a join would be planned by the size of the backlog, and may read the
whole table. What stands in braces is the same in several; ``{record}`` are the columns of a record,
in the order of :data:`lq_postgres.rows.COLUMNS`.

The moment that a statement is given is null unless somebody has brought a clock: the database's own time counts.
"""
