-- What brokers say of themselves. Each writes its own row again and again; nobody's rights depend on any of them.

CREATE TABLE brokers (
    name        TEXT CONSTRAINT brokers_name PRIMARY KEY
                CONSTRAINT brokers_name_length CHECK (length(name) BETWEEN 1 AND 255),
    -- Which process it is, and how often it has written its row.
    instance    TEXT NOT NULL,
    beats       BIGINT NOT NULL,
    interval_ms BIGINT NOT NULL,
    -- Of the plugin, and of Mosquitto.
    version     TEXT NOT NULL,
    mosquitto   TEXT NOT NULL,
    -- The newest change that its policy holds.
    revision    BIGINT NOT NULL,
    -- The newest `checkpoint` (in warden_meta) up to which everything that was committed is carried out.
    confirmed   BIGINT NOT NULL,
    sessions    BIGINT NOT NULL,
    started_at  TEXT NOT NULL,
    seen_at     TEXT NOT NULL,
    -- NULL while it runs, as far as anybody knows.
    ended_at    TEXT
);

-- Raised by whoever waits for brokers, after the change that is waited for. The second of two waits for the first, so
-- that these numbers are committed in the order in which they are given out.
INSERT INTO warden_meta VALUES ('checkpoint', '0');
