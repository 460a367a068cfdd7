-- Code that knows migration 1 may run beside this.

-- What has ended in each minute of the last days, in a queue, or in all of them with the name ''.
CREATE TABLE lq.rollups (
    minute timestamptz NOT NULL,
    queue text COLLATE "C" NOT NULL,
    numbers bigint[] NOT NULL,
    PRIMARY KEY (minute, queue)
) WITH (fillfactor = 50);

-- What people have changed with commands and in the dashboard.
CREATE TABLE lq.actions (
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL
);

CREATE INDEX actions_at ON lq.actions (at);
