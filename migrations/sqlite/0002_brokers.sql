-- What brokers say of themselves. Each writes its own row again and again; nobody's rights depend on any of them.

CREATE TABLE brokers (
    name        TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    -- Which process it is, and how often it has written its row.
    instance    TEXT NOT NULL,
    beats       INTEGER NOT NULL,
    interval_ms INTEGER NOT NULL,
    -- Of the plugin, and of Mosquitto.
    version     TEXT NOT NULL,
    mosquitto   TEXT NOT NULL,
    -- The newest change that its policy holds.
    revision    INTEGER NOT NULL,
    -- The newest `checkpoint` (in warden_meta) up to which everything that was committed is carried out.
    confirmed   INTEGER NOT NULL,
    sessions    INTEGER NOT NULL,
    started_at  TEXT NOT NULL,
    seen_at     TEXT NOT NULL,
    -- NULL while it runs, as far as anybody knows.
    ended_at    TEXT
) STRICT, WITHOUT ROWID;

-- Raised by whoever waits for brokers, after the change that is waited for.
INSERT INTO warden_meta VALUES ('checkpoint', '0');
