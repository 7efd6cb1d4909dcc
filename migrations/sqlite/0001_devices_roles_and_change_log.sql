-- The policy as people see it, and the log by which a running plugin hears of every change to it.
--
-- Everything here must hold for any writer, the sqlite3 shell included. The shell leaves foreign keys off, so what a
-- foreign key would do is done by triggers; and INSERT OR REPLACE deletes rows without firing delete triggers, so the
-- rows that it is about to replace are logged beforehand.

CREATE TABLE devices (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL UNIQUE
                  CHECK (length(name) BETWEEN 1 AND 255)
                  -- The name stands for %u in topics: a wildcard, a separator or a control character has no place in it.
                  CHECK (name NOT GLOB '*[+#/]*' AND name NOT GLOB '*[' || char(1) || '-' || char(31) || char(127) || ']*'
                         AND instr(name, char(0)) = 0),
    status        TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'revoked')),
    status_reason TEXT,
    client_id     TEXT CHECK (length(client_id) BETWEEN 1 AND 1024),
    attributes    TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(attributes) AND json_type(attributes) = 'object'),
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    updated_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;

CREATE TABLE credentials (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id     INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    kind          TEXT NOT NULL CHECK (kind IN ('x509_cn', 'x509_san_dns', 'x509_san_uri', 'x509_san_email', 'x509_san_ip',
                                                'x509_subject', 'x509_serial', 'x509_sha256', 'x509_spki_sha256',
                                                'psk', 'password')),
    identity      TEXT NOT NULL CHECK (length(identity) BETWEEN 1 AND 65535) CHECK (instr(identity, char(0)) = 0),
    -- psk: sealed with the key file. password: a PHC string.
    secret        TEXT,
    -- psk: keyed digest of the key itself, so that no two credentials can share one.
    secret_digest TEXT UNIQUE,
    -- x509: SHA-256, in hexadecimal digits, of the public key (SubjectPublicKeyInfo) of an authority that must have
    -- issued the certificate, directly or through others. NULL: any that the broker trusts.
    issuer        TEXT CHECK (issuer IS NULL OR (length(issuer) = 64 AND issuer NOT GLOB '*[^0-9a-f]*')),
    status        TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    not_before    TEXT CHECK (unixepoch(not_before) IS NOT NULL OR not_before IS NULL),
    not_after     TEXT CHECK (unixepoch(not_after) IS NOT NULL OR not_after IS NULL),
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    UNIQUE (kind, identity),
    CHECK ((kind IN ('psk', 'password')) = (secret IS NOT NULL)),
    CHECK ((kind = 'psk') = (secret_digest IS NOT NULL)),
    CHECK (issuer IS NULL OR kind LIKE 'x509%'),
    -- As certificates are read; in any other form these would stand for no certificate.
    CHECK (kind NOT IN ('x509_sha256', 'x509_spki_sha256')
           OR (length(identity) = 64 AND identity NOT GLOB '*[^0-9a-f]*')),
    CHECK (kind <> 'x509_serial'
           OR (identity NOT GLOB '*[^0-9a-f]*' AND (identity NOT GLOB '0*' OR identity = '0')))
) STRICT;
CREATE INDEX credentials_by_device ON credentials (device_id);
CREATE INDEX credentials_by_identity ON credentials (identity);

CREATE TABLE roles (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 255),
    client_id TEXT CHECK (length(client_id) BETWEEN 1 AND 1024)
) STRICT;

CREATE TABLE rules (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    role_id INTEGER NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    effect  TEXT NOT NULL CHECK (effect IN ('allow', 'deny')),
    action  TEXT NOT NULL CHECK (action IN ('publish', 'subscribe', 'receive', 'read', 'write', 'all')),
    -- MQTT 5, section 4.7.1: # stands alone in the last level, + stands alone in its level.
    topic   TEXT NOT NULL
            CHECK (length(topic) BETWEEN 1 AND 65535 AND instr(topic, char(0)) = 0)
            CHECK (topic NOT GLOB '*[^/]#*' AND topic NOT GLOB '*#?*'
                   AND topic NOT GLOB '*[^/]+*' AND topic NOT GLOB '*+[^/]*'),
    -- What a device may send and ask for at most; a deny that depends on it would say the opposite of what it reads like.
    max_qos INTEGER CHECK (max_qos BETWEEN 0 AND 2) CHECK (max_qos IS NULL OR effect = 'allow'),
    -- NULL: retained or not. 1: only retained messages. 0: only messages that are not retained.
    retain  INTEGER CHECK (retain IN (0, 1))
) STRICT;
CREATE INDEX rules_by_role ON rules (role_id);

CREATE TABLE device_roles (
    device_id INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    role_id   INTEGER NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    PRIMARY KEY (device_id, role_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_roles_by_role ON device_roles (role_id);

-- The certificate revocation lists (RFC 5280, section 5) that were imported, one for each authority.
CREATE TABLE crls (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    issuer      TEXT NOT NULL UNIQUE,
    -- The CRL number, in hexadecimal digits; NULL where the list had none.
    number      TEXT,
    this_update TEXT NOT NULL,
    next_update TEXT,
    imported_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;

-- Certificates that are refused, whoever shows them, whatever else is good about them.
CREATE TABLE revoked_certificates (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- A name as in RFC 4514, for instance CN=Fleet CA,O=Example; case, order and blanks make no difference.
    issuer     TEXT NOT NULL CHECK (length(issuer) BETWEEN 1 AND 4096 AND instr(issuer, char(0)) = 0),
    -- Hexadecimal digits; case, colons and leading zeros make no difference.
    serial     TEXT NOT NULL CHECK (length(serial) BETWEEN 1 AND 128 AND serial NOT GLOB '*[^0-9a-fA-F:]*'),
    revoked_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    reason     TEXT,
    -- The list that it came from, which may take it back; NULL: somebody's own decision.
    crl_id     INTEGER REFERENCES crls (id) ON DELETE CASCADE
) STRICT;
-- What somebody has decided stands beside what a list says, so that neither takes back the other.
CREATE UNIQUE INDEX revoked_certificates_once ON revoked_certificates (issuer, serial, coalesce(crl_id, 0));
CREATE INDEX revoked_certificates_by_crl ON revoked_certificates (crl_id);

-- Facts about this database itself, such as which key file its secrets are sealed with.
CREATE TABLE warden_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The change log. One row for each device, role or revoked certificate that a statement touched; the newest number is
-- the revision.
CREATE TABLE change_log (
    revision  INTEGER PRIMARY KEY AUTOINCREMENT,
    entity    TEXT NOT NULL CHECK (entity IN ('device', 'role', 'certificate')),
    entity_id INTEGER NOT NULL
) STRICT;

-- Bounded without anyone's help: a reader that was away for longer reads everything again.
CREATE TRIGGER change_log_bounded AFTER INSERT ON change_log WHEN NEW.revision % 1000 = 0 BEGIN
    DELETE FROM change_log WHERE revision <= NEW.revision - 200000;
END;

-- A user name means one device: no identity may be another device's name, nor belong to two devices.
CREATE TRIGGER devices_own_name_insert BEFORE INSERT ON devices
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE name = NEW.name)  -- that one UNIQUE answers, as OR IGNORE expects
 AND EXISTS (SELECT 1 FROM credentials JOIN devices ON devices.id = device_id
             WHERE identity = NEW.name AND kind IN ('x509_cn', 'psk', 'password'))
BEGIN SELECT RAISE(ABORT, 'this name is an identity of another device'); END;
CREATE TRIGGER devices_own_name_update BEFORE UPDATE OF name ON devices
WHEN EXISTS (SELECT 1 FROM credentials JOIN devices ON devices.id = device_id
             WHERE identity = NEW.name AND device_id <> NEW.id AND kind IN ('x509_cn', 'psk', 'password'))
BEGIN SELECT RAISE(ABORT, 'this name is an identity of another device'); END;
CREATE TRIGGER credentials_one_device_insert BEFORE INSERT ON credentials
WHEN NEW.kind IN ('x509_cn', 'psk', 'password') AND (
    EXISTS (SELECT 1 FROM devices WHERE name = NEW.identity AND id <> NEW.device_id)
    OR EXISTS (SELECT 1 FROM credentials JOIN devices ON devices.id = device_id
               WHERE identity = NEW.identity AND device_id <> NEW.device_id AND kind IN ('x509_cn', 'psk', 'password')))
BEGIN SELECT RAISE(ABORT, 'this identity already means another device'); END;
CREATE TRIGGER credentials_one_device_update BEFORE UPDATE OF kind, identity, device_id ON credentials
WHEN NEW.kind IN ('x509_cn', 'psk', 'password') AND (
    EXISTS (SELECT 1 FROM devices WHERE name = NEW.identity AND id <> NEW.device_id)
    OR EXISTS (SELECT 1 FROM credentials JOIN devices ON devices.id = device_id
               WHERE identity = NEW.identity AND device_id <> NEW.device_id AND credentials.id <> NEW.id
                 AND kind IN ('x509_cn', 'psk', 'password')))
BEGIN SELECT RAISE(ABORT, 'this identity already means another device'); END;

-- Foreign keys, for writers that leave them off.
CREATE TRIGGER credentials_device_insert BEFORE INSERT ON credentials
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id) BEGIN SELECT RAISE(ABORT, 'no such device'); END;
CREATE TRIGGER credentials_device_update BEFORE UPDATE OF device_id ON credentials
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id) BEGIN SELECT RAISE(ABORT, 'no such device'); END;
CREATE TRIGGER rules_role_insert BEFORE INSERT ON rules
WHEN NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id) BEGIN SELECT RAISE(ABORT, 'no such role'); END;
CREATE TRIGGER rules_role_update BEFORE UPDATE OF role_id ON rules
WHEN NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id) BEGIN SELECT RAISE(ABORT, 'no such role'); END;
CREATE TRIGGER device_roles_insert BEFORE INSERT ON device_roles
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id)
  OR NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id) BEGIN SELECT RAISE(ABORT, 'no such device or role'); END;
CREATE TRIGGER device_roles_update BEFORE UPDATE ON device_roles
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id)
  OR NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id) BEGIN SELECT RAISE(ABORT, 'no such device or role'); END;
CREATE TRIGGER revoked_certificates_crl_insert BEFORE INSERT ON revoked_certificates
WHEN NEW.crl_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM crls WHERE id = NEW.crl_id)
BEGIN SELECT RAISE(ABORT, 'no such revocation list'); END;
CREATE TRIGGER revoked_certificates_crl_update BEFORE UPDATE OF crl_id ON revoked_certificates
WHEN NEW.crl_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM crls WHERE id = NEW.crl_id)
BEGIN SELECT RAISE(ABORT, 'no such revocation list'); END;
-- An id is how everything else refers to its row.
CREATE TRIGGER devices_id_is_fixed BEFORE UPDATE OF id ON devices WHEN NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'the id of a device cannot change'); END;
CREATE TRIGGER roles_id_is_fixed BEFORE UPDATE OF id ON roles WHEN NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'the id of a role cannot change'); END;
CREATE TRIGGER crls_id_is_fixed BEFORE UPDATE OF id ON crls WHEN NEW.id <> OLD.id
BEGIN SELECT RAISE(ABORT, 'the id of a revocation list cannot change'); END;

-- INSERT OR REPLACE, with foreign keys off, leaves the credentials of the device that it replaced. They are nobody's;
-- they must not keep their identity from its next owner.
CREATE TRIGGER credentials_of_nobody BEFORE INSERT ON credentials BEGIN
    DELETE FROM credentials
    WHERE ((kind = NEW.kind AND identity = NEW.identity) OR secret_digest = NEW.secret_digest)
      AND NOT EXISTS (SELECT 1 FROM devices WHERE id = credentials.device_id);
END;

-- What changed: devices, with their credentials and their roles.
CREATE TRIGGER devices_replaced_insert BEFORE INSERT ON devices BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'device', id FROM devices WHERE name = NEW.name OR id = NEW.id;
END;
CREATE TRIGGER devices_replaced_update BEFORE UPDATE OF name ON devices BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'device', id FROM devices WHERE name = NEW.name AND id <> OLD.id;
END;
CREATE TRIGGER devices_inserted AFTER INSERT ON devices BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', NEW.id);
END;
CREATE TRIGGER devices_updated AFTER UPDATE OF name, status, client_id, attributes ON devices BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', NEW.id);
    UPDATE devices SET updated_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now') WHERE id = NEW.id;
END;
CREATE TRIGGER devices_deleted AFTER DELETE ON devices BEGIN
    DELETE FROM credentials WHERE device_id = OLD.id;
    DELETE FROM device_roles WHERE device_id = OLD.id;
    INSERT INTO change_log (entity, entity_id) VALUES ('device', OLD.id);
END;

CREATE TRIGGER credentials_replaced_insert BEFORE INSERT ON credentials BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'device', device_id FROM credentials
    WHERE id = NEW.id OR (kind = NEW.kind AND identity = NEW.identity) OR secret_digest = NEW.secret_digest;
END;
CREATE TRIGGER credentials_replaced_update BEFORE UPDATE ON credentials BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'device', device_id FROM credentials
    WHERE id <> OLD.id AND (id = NEW.id OR (kind = NEW.kind AND identity = NEW.identity) OR secret_digest = NEW.secret_digest);
END;
CREATE TRIGGER credentials_inserted AFTER INSERT ON credentials BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', NEW.device_id);
END;
CREATE TRIGGER credentials_updated AFTER UPDATE ON credentials BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', NEW.device_id);
END;
CREATE TRIGGER credentials_moved AFTER UPDATE OF device_id ON credentials WHEN NEW.device_id <> OLD.device_id BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', OLD.device_id);
END;
CREATE TRIGGER credentials_deleted AFTER DELETE ON credentials BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', OLD.device_id);
END;

CREATE TRIGGER device_roles_inserted AFTER INSERT ON device_roles BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', NEW.device_id);
END;
CREATE TRIGGER device_roles_updated AFTER UPDATE ON device_roles BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', OLD.device_id), ('device', NEW.device_id);
END;
CREATE TRIGGER device_roles_deleted AFTER DELETE ON device_roles BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('device', OLD.device_id);
END;

-- What changed: roles, with their rules.
CREATE TRIGGER roles_replaced_insert BEFORE INSERT ON roles BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'role', id FROM roles WHERE name = NEW.name OR id = NEW.id;
END;
CREATE TRIGGER roles_replaced_update BEFORE UPDATE OF name ON roles BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'role', id FROM roles WHERE name = NEW.name AND id <> OLD.id;
END;
CREATE TRIGGER roles_inserted AFTER INSERT ON roles BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', NEW.id);
END;
CREATE TRIGGER roles_updated AFTER UPDATE ON roles BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', NEW.id);
END;
CREATE TRIGGER roles_deleted AFTER DELETE ON roles BEGIN
    DELETE FROM rules WHERE role_id = OLD.id;
    DELETE FROM device_roles WHERE role_id = OLD.id;
    INSERT INTO change_log (entity, entity_id) VALUES ('role', OLD.id);
END;

CREATE TRIGGER rules_replaced_insert BEFORE INSERT ON rules BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'role', role_id FROM rules WHERE id = NEW.id;
END;
CREATE TRIGGER rules_replaced_update BEFORE UPDATE OF id ON rules BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'role', role_id FROM rules WHERE id = NEW.id AND id <> OLD.id;
END;
CREATE TRIGGER rules_inserted AFTER INSERT ON rules BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', NEW.role_id);
END;
CREATE TRIGGER rules_updated AFTER UPDATE ON rules BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', NEW.role_id);
END;
CREATE TRIGGER rules_moved AFTER UPDATE OF role_id ON rules WHEN NEW.role_id <> OLD.role_id BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', OLD.role_id);
END;
CREATE TRIGGER rules_deleted AFTER DELETE ON rules BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('role', OLD.role_id);
END;

-- What changed: revoked certificates.
CREATE TRIGGER revoked_certificates_replaced_insert BEFORE INSERT ON revoked_certificates BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'certificate', id FROM revoked_certificates
    WHERE id = NEW.id OR (issuer = NEW.issuer AND serial = NEW.serial AND coalesce(crl_id, 0) = coalesce(NEW.crl_id, 0));
END;
CREATE TRIGGER revoked_certificates_replaced_update BEFORE UPDATE OF id, issuer, serial, crl_id ON revoked_certificates BEGIN
    INSERT INTO change_log (entity, entity_id) SELECT 'certificate', id FROM revoked_certificates
    WHERE id <> OLD.id AND (id = NEW.id OR (issuer = NEW.issuer AND serial = NEW.serial
                                            AND coalesce(crl_id, 0) = coalesce(NEW.crl_id, 0)));
END;
CREATE TRIGGER revoked_certificates_inserted AFTER INSERT ON revoked_certificates BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('certificate', NEW.id);
END;
CREATE TRIGGER revoked_certificates_updated AFTER UPDATE OF id, issuer, serial ON revoked_certificates BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('certificate', OLD.id), ('certificate', NEW.id);
END;
CREATE TRIGGER revoked_certificates_deleted AFTER DELETE ON revoked_certificates BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES ('certificate', OLD.id);
END;
-- With foreign keys off, INSERT OR REPLACE leaves what the list that it replaced has revoked.
CREATE TRIGGER crls_replaced AFTER INSERT ON crls BEGIN
    DELETE FROM revoked_certificates WHERE crl_id IS NOT NULL AND crl_id NOT IN (SELECT id FROM crls);
END;
CREATE TRIGGER crls_deleted AFTER DELETE ON crls BEGIN
    DELETE FROM revoked_certificates WHERE crl_id = OLD.id;
END;
