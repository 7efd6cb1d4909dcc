-- Credentials with which a device only begins its life, and the certificates that `warden` has issued.

-- NULL: whoever shows it has the device's own roles. Else it has the rights of this role and no others, and only until
-- the device has a certificate: a row of kind x509_… that names no role, whatever becomes of that later.
ALTER TABLE credentials ADD COLUMN role_id BIGINT,
    ADD CONSTRAINT credentials_role FOREIGN KEY (role_id) REFERENCES roles (id);

-- A record for people and for `warden`; the plugin does not read it, and nobody's rights depend on it.
CREATE TABLE certificates (
    id          BIGINT AUTO_INCREMENT PRIMARY KEY,
    device_id   BIGINT NOT NULL,
    -- As revoked_certificates has them.
    issuer      VARCHAR(4096) NOT NULL,
    serial      VARCHAR(128) NOT NULL,
    -- Of the certificate, and of its public key (SubjectPublicKeyInfo), in hexadecimal digits.
    sha256      VARCHAR(64) NOT NULL,
    spki_sha256 VARCHAR(64) NOT NULL,
    not_before  VARCHAR(32) NOT NULL,
    not_after   VARCHAR(32) NOT NULL,
    issued_at   VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    CONSTRAINT certificates_device FOREIGN KEY (device_id) REFERENCES devices (id),
    CONSTRAINT certificates_sha256 UNIQUE (sha256),
    CONSTRAINT certificates_issuer CHECK (char_length(issuer) BETWEEN 1 AND 4096),
    CONSTRAINT certificates_serial CHECK (char_length(serial) BETWEEN 1 AND 128 AND serial NOT REGEXP '[^0-9a-f]'),
    CONSTRAINT certificates_sha256_form CHECK (char_length(sha256) = 64 AND sha256 NOT REGEXP '[^0-9a-f]'),
    CONSTRAINT certificates_spki_form CHECK (char_length(spki_sha256) = 64 AND spki_sha256 NOT REGEXP '[^0-9a-f]'),
    CONSTRAINT certificates_not_before CHECK (
        not_before REGEXP '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$' AND char_length(not_before) = 20),
    CONSTRAINT certificates_not_after CHECK (
        not_after REGEXP '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$' AND char_length(not_after) = 20)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
CREATE INDEX certificates_by_key ON certificates (spki_sha256);

-- What a foreign key does to other rows fires no trigger here. A credential that lost its role must not become one
-- without limits.
CREATE TRIGGER roles_deleting_credentials BEFORE DELETE ON roles FOR EACH ROW
    DELETE FROM credentials WHERE role_id = OLD.id;
CREATE TRIGGER devices_deleting_certificates BEFORE DELETE ON devices FOR EACH ROW
    DELETE FROM certificates WHERE device_id = OLD.id;
