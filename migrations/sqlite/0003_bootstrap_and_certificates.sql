-- Credentials with which a device only begins its life, and the certificates that `warden` has issued.

-- NULL: whoever shows it has the device's own roles. Else it has the rights of this role and no others, and only until
-- the device has a certificate: a row of kind x509_… that names no role, whatever becomes of that later.
ALTER TABLE credentials ADD COLUMN role_id INTEGER REFERENCES roles (id) ON DELETE CASCADE;
CREATE INDEX credentials_by_role ON credentials (role_id) WHERE role_id IS NOT NULL;

-- A record for people and for `warden`; the plugin does not read it, and nobody's rights depend on it.
CREATE TABLE certificates (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id   INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    -- As revoked_certificates has them.
    issuer      TEXT NOT NULL CHECK (length(issuer) BETWEEN 1 AND 4096 AND instr(issuer, char(0)) = 0),
    serial      TEXT NOT NULL CHECK (length(serial) BETWEEN 1 AND 128 AND serial NOT GLOB '*[^0-9a-f]*'),
    -- Of the certificate, and of its public key (SubjectPublicKeyInfo), in hexadecimal digits.
    sha256      TEXT NOT NULL UNIQUE CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    spki_sha256 TEXT NOT NULL CHECK (length(spki_sha256) = 64 AND spki_sha256 NOT GLOB '*[^0-9a-f]*'),
    not_before  TEXT NOT NULL CHECK (unixepoch(not_before) IS NOT NULL),
    not_after   TEXT NOT NULL CHECK (unixepoch(not_after) IS NOT NULL),
    issued_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device_id);
CREATE INDEX certificates_by_key ON certificates (spki_sha256);

-- Foreign keys, for writers that leave them off.
CREATE TRIGGER credentials_role_insert BEFORE INSERT ON credentials
WHEN NEW.role_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id)
BEGIN SELECT RAISE(ABORT, 'no such role'); END;
CREATE TRIGGER credentials_role_update BEFORE UPDATE OF role_id ON credentials
WHEN NEW.role_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM roles WHERE id = NEW.role_id)
BEGIN SELECT RAISE(ABORT, 'no such role'); END;
CREATE TRIGGER certificates_device_insert BEFORE INSERT ON certificates
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id) BEGIN SELECT RAISE(ABORT, 'no such device'); END;
CREATE TRIGGER certificates_device_update BEFORE UPDATE OF device_id ON certificates
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE id = NEW.device_id) BEGIN SELECT RAISE(ABORT, 'no such device'); END;
-- A credential that lost its role must not become one without limits.
CREATE TRIGGER roles_deleted_with_credentials AFTER DELETE ON roles BEGIN
    DELETE FROM credentials WHERE role_id = OLD.id;
END;
CREATE TRIGGER devices_deleted_with_certificates AFTER DELETE ON devices BEGIN
    DELETE FROM certificates WHERE device_id = OLD.id;
END;
