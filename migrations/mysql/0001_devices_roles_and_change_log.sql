-- The policy as people see it, and the log by which a running plugin hears of every change to it. The same tables,
-- names and rules as in the migrations of the other databases.
--
-- Everything here must hold for any writer, the shells included. Constraints have names, because those are what an
-- error tells of them. What a foreign key does to other rows fires no trigger here, so triggers do it.

CREATE TABLE devices (
    id            BIGINT AUTO_INCREMENT PRIMARY KEY,
    name          VARCHAR(255) NOT NULL,
    status        VARCHAR(16) NOT NULL DEFAULT 'active',
    status_reason TEXT,
    client_id     VARCHAR(1024),
    attributes    LONGTEXT NOT NULL DEFAULT ('{}'),
    created_at    VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    updated_at    VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    CONSTRAINT devices_name UNIQUE (name),
    CONSTRAINT devices_name_length CHECK (char_length(name) BETWEEN 1 AND 255),
    -- The name stands for %u in topics: a wildcard, a separator or a control character has no place in it.
    CONSTRAINT devices_name_characters CHECK (
        name NOT REGEXP concat('[+#/', char(1 USING utf8mb4), '-', char(31 USING utf8mb4), char(127 USING utf8mb4), ']')
        AND locate(char(0 USING utf8mb4), name) = 0),
    CONSTRAINT devices_status CHECK (status IN ('active', 'suspended', 'revoked')),
    CONSTRAINT devices_client_id CHECK (char_length(client_id) BETWEEN 1 AND 1024),
    CONSTRAINT devices_attributes CHECK (CASE WHEN json_valid(attributes) THEN json_type(attributes) = 'OBJECT' ELSE FALSE END)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

CREATE TABLE credentials (
    id              BIGINT AUTO_INCREMENT PRIMARY KEY,
    device_id       BIGINT NOT NULL,
    kind            VARCHAR(32) NOT NULL,
    identity        MEDIUMTEXT NOT NULL,
    -- psk: sealed with the key file. password: a PHC string.
    secret          TEXT,
    -- psk: keyed digest of the key itself, so that no two credentials can share one.
    secret_digest   VARCHAR(255),
    -- x509: SHA-256, in hexadecimal digits, of the public key (SubjectPublicKeyInfo) of an authority that must have
    -- issued the certificate, directly or through others. NULL: any that the broker trusts.
    issuer          VARCHAR(255),
    status          VARCHAR(16) NOT NULL DEFAULT 'active',
    not_before      VARCHAR(32),
    not_after       VARCHAR(32),
    created_at      VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    -- An identity may be longer than an index reaches.
    identity_digest BINARY(32) AS (unhex(sha2(identity, 256))) STORED,
    CONSTRAINT credentials_device FOREIGN KEY (device_id) REFERENCES devices (id),
    CONSTRAINT credentials_kind CHECK (kind IN (
        'x509_cn', 'x509_san_dns', 'x509_san_uri', 'x509_san_email', 'x509_san_ip', 'x509_subject', 'x509_serial',
        'x509_sha256', 'x509_spki_sha256', 'psk', 'password')),
    CONSTRAINT credentials_identity_length CHECK (char_length(identity) BETWEEN 1 AND 65535),
    CONSTRAINT credentials_identity_characters CHECK (locate(char(0 USING utf8mb4), identity) = 0),
    CONSTRAINT credentials_identity UNIQUE (kind, identity_digest),
    CONSTRAINT credentials_secret_digest UNIQUE (secret_digest),
    CONSTRAINT credentials_issuer_form CHECK (
        issuer IS NULL OR (char_length(issuer) = 64 AND issuer NOT REGEXP '[^0-9a-f]')),
    CONSTRAINT credentials_status CHECK (status IN ('active', 'revoked')),
    CONSTRAINT credentials_not_before CHECK (not_before IS NULL OR (
        char_length(not_before) = 20
        AND not_before REGEXP '^[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z'
        AND CAST(substr(not_before, 9, 2) AS UNSIGNED) BETWEEN 1 AND dayofmonth(last_day(concat(substr(not_before, 1, 8), '01'))))),
    CONSTRAINT credentials_not_after CHECK (not_after IS NULL OR (
        char_length(not_after) = 20
        AND not_after REGEXP '^[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z'
        AND CAST(substr(not_after, 9, 2) AS UNSIGNED) BETWEEN 1 AND dayofmonth(last_day(concat(substr(not_after, 1, 8), '01'))))),
    CONSTRAINT credentials_secret CHECK ((kind IN ('psk', 'password')) = (secret IS NOT NULL)),
    CONSTRAINT credentials_digest CHECK ((kind = 'psk') = (secret_digest IS NOT NULL)),
    CONSTRAINT credentials_issuer_kind CHECK (issuer IS NULL OR kind LIKE 'x509%'),
    -- As certificates are read; in any other form these would stand for no certificate.
    CONSTRAINT credentials_fingerprint CHECK (
        kind NOT IN ('x509_sha256', 'x509_spki_sha256')
        OR (char_length(identity) = 64 AND identity NOT REGEXP '[^0-9a-f]')),
    CONSTRAINT credentials_serial CHECK (
        kind <> 'x509_serial' OR (identity NOT REGEXP '[^0-9a-f]' AND (identity NOT LIKE '0%' OR identity = '0')))
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
CREATE INDEX credentials_by_device ON credentials (device_id);

CREATE TABLE roles (
    id        BIGINT AUTO_INCREMENT PRIMARY KEY,
    name      VARCHAR(255) NOT NULL,
    client_id VARCHAR(1024),
    CONSTRAINT roles_name UNIQUE (name),
    CONSTRAINT roles_name_length CHECK (char_length(name) BETWEEN 1 AND 255),
    CONSTRAINT roles_client_id CHECK (char_length(client_id) BETWEEN 1 AND 1024)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

CREATE TABLE rules (
    id      BIGINT AUTO_INCREMENT PRIMARY KEY,
    role_id BIGINT NOT NULL,
    effect  VARCHAR(16) NOT NULL,
    action  VARCHAR(16) NOT NULL,
    topic   MEDIUMTEXT NOT NULL,
    -- What a device may send and ask for at most; a deny that depends on it would say the opposite of what it reads like.
    max_qos BIGINT,
    -- NULL: retained or not. 1: only retained messages. 0: only messages that are not retained.
    retain  BIGINT,
    CONSTRAINT rules_role FOREIGN KEY (role_id) REFERENCES roles (id),
    CONSTRAINT rules_effect CHECK (effect IN ('allow', 'deny')),
    CONSTRAINT rules_action CHECK (action IN ('publish', 'subscribe', 'receive', 'read', 'write', 'all')),
    CONSTRAINT rules_topic_length CHECK (char_length(topic) BETWEEN 1 AND 65535),
    CONSTRAINT rules_topic_characters CHECK (locate(char(0 USING utf8mb4), topic) = 0),
    -- MQTT 5, section 4.7.1: # stands alone in the last level, + stands alone in its level.
    CONSTRAINT rules_topic_filter CHECK (topic NOT REGEXP '[^/]#|#([^a]|a)|[^/][+]|[+][^/]'),
    CONSTRAINT rules_max_qos CHECK (max_qos BETWEEN 0 AND 2),
    CONSTRAINT rules_retain CHECK (retain IN (0, 1)),
    CONSTRAINT rules_max_qos_allows CHECK (max_qos IS NULL OR effect = 'allow')
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
CREATE INDEX rules_by_role ON rules (role_id);

CREATE TABLE device_roles (
    device_id BIGINT NOT NULL,
    role_id   BIGINT NOT NULL,
    PRIMARY KEY (device_id, role_id),
    CONSTRAINT device_roles_device FOREIGN KEY (device_id) REFERENCES devices (id),
    CONSTRAINT device_roles_role FOREIGN KEY (role_id) REFERENCES roles (id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
CREATE INDEX device_roles_by_role ON device_roles (role_id);

-- The certificate revocation lists (RFC 5280, section 5) that were imported, one for each authority.
CREATE TABLE crls (
    id            BIGINT AUTO_INCREMENT PRIMARY KEY,
    issuer        TEXT NOT NULL,
    -- The CRL number, in hexadecimal digits; NULL where the list had none.
    number        VARCHAR(255),
    this_update   VARCHAR(32) NOT NULL,
    next_update   VARCHAR(32),
    imported_at   VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    issuer_digest BINARY(32) AS (unhex(sha2(issuer, 256))) STORED,
    CONSTRAINT crls_issuer UNIQUE (issuer_digest)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

-- Certificates that are refused, whoever shows them, whatever else is good about them.
CREATE TABLE revoked_certificates (
    id            BIGINT AUTO_INCREMENT PRIMARY KEY,
    -- A name as in RFC 4514, for instance CN=Fleet CA,O=Example; case, order and blanks make no difference.
    issuer        TEXT NOT NULL,
    -- Hexadecimal digits; case, colons and leading zeros make no difference.
    serial        VARCHAR(128) NOT NULL,
    revoked_at    VARCHAR(32) NOT NULL DEFAULT (date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ')),
    reason        TEXT,
    -- The list that it came from, which may take it back; NULL: somebody's own decision.
    crl_id        BIGINT,
    issuer_digest BINARY(32) AS (unhex(sha2(issuer, 256))) STORED,
    source        BIGINT AS (coalesce(crl_id, 0)) STORED,
    CONSTRAINT revoked_certificates_crl FOREIGN KEY (crl_id) REFERENCES crls (id),
    CONSTRAINT revoked_certificates_issuer CHECK (
        char_length(issuer) BETWEEN 1 AND 4096 AND locate(char(0 USING utf8mb4), issuer) = 0),
    CONSTRAINT revoked_certificates_serial CHECK (
        char_length(serial) BETWEEN 1 AND 128 AND serial NOT REGEXP '[^0-9a-fA-F:]'),
    -- What somebody has decided stands beside what a list says, so that neither takes back the other.
    CONSTRAINT revoked_certificates_once UNIQUE (issuer_digest, serial, source)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
CREATE INDEX revoked_certificates_by_crl ON revoked_certificates (crl_id);

-- Facts about this database itself, such as which key file its secrets are sealed with.
CREATE TABLE warden_meta (
    `key` VARCHAR(64) PRIMARY KEY,
    value VARCHAR(255) NOT NULL
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;
INSERT INTO warden_meta VALUES ('change_log_deleted', '0');

-- Which device a user name (its SHA-256) means: its name, and every identity that becomes a user name. Kept by triggers;
-- its key makes the second of two writers wait for the first, where looking at the other tables would see neither.
CREATE TABLE user_names (
    user_name BINARY(32) PRIMARY KEY,
    device_id BIGINT NOT NULL,
    uses      BIGINT NOT NULL
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

-- The change log. One row for each device, role or revoked certificate that a statement touched. Numbers are given out
-- in one order and committed in another: a reader goes back to those that it has passed over.
CREATE TABLE change_log (
    revision  BIGINT AUTO_INCREMENT PRIMARY KEY,
    entity    VARCHAR(16) NOT NULL,
    entity_id BIGINT NOT NULL,
    CONSTRAINT change_log_entity CHECK (entity IN ('device', 'role', 'certificate'))
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

-- TRUNCATE fires no trigger, and is refused for what others refer to. Nothing is ever in here.
CREATE TABLE never_truncated (
    credential_id  BIGINT,
    rule_id        BIGINT,
    device_id      BIGINT,
    role_id        BIGINT,
    certificate_id BIGINT,
    revision       BIGINT,
    FOREIGN KEY (credential_id) REFERENCES credentials (id),
    FOREIGN KEY (rule_id) REFERENCES rules (id),
    FOREIGN KEY (device_id, role_id) REFERENCES device_roles (device_id, role_id),
    FOREIGN KEY (certificate_id) REFERENCES revoked_certificates (id),
    FOREIGN KEY (revision) REFERENCES change_log (revision)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE InnoDB;

-- Bounded without anyone's help: a reader that was away for longer reads everything again. `change_log_deleted` says up
-- to which number rows are gone. Rows of open transactions are passed over, and whoever finds another at it leaves it to
-- them, so that nobody waits.
CREATE PROCEDURE warden_bound_change_log(bound BIGINT)
BEGIN
    DECLARE nothing BOOLEAN DEFAULT FALSE;
    DECLARE next_revision, newest_deleted BIGINT;
    DECLARE old CURSOR FOR
        SELECT revision FROM change_log WHERE revision <= bound ORDER BY revision LIMIT 5000 FOR UPDATE SKIP LOCKED;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET nothing = TRUE;
    SELECT CAST(value AS SIGNED) INTO newest_deleted FROM warden_meta WHERE `key` = 'change_log_deleted'
    FOR UPDATE SKIP LOCKED;
    IF NOT nothing THEN
        OPEN old;
        FETCH old INTO next_revision;
        WHILE NOT nothing DO
            DELETE FROM change_log WHERE revision = next_revision;
            SET newest_deleted = greatest(newest_deleted, next_revision);
            FETCH old INTO next_revision;
        END WHILE;
        CLOSE old;
        UPDATE warden_meta SET value = newest_deleted WHERE `key` = 'change_log_deleted';
    END IF;
END;
CREATE PROCEDURE warden_log(what VARCHAR(16) CHARACTER SET utf8mb4, which BIGINT)
BEGIN
    INSERT INTO change_log (entity, entity_id) VALUES (what, which);
    IF last_insert_id() % 1000 < @@auto_increment_increment THEN
        CALL warden_bound_change_log(CAST(last_insert_id() AS SIGNED) - 200000);
    END IF;
END;

-- A user name means one device: no identity may be another device's name, nor belong to two devices.
CREATE PROCEDURE warden_claim(
    claimed MEDIUMTEXT CHARACTER SET utf8mb4, claimant BIGINT, complaint VARCHAR(128) CHARACTER SET utf8mb4
)
BEGIN
    DECLARE digest BINARY(32) DEFAULT unhex(sha2(claimed, 256));
    DECLARE owner BIGINT;
    INSERT INTO user_names VALUES (digest, claimant, 1)
    ON DUPLICATE KEY UPDATE uses = uses + (device_id = claimant);
    SELECT device_id INTO owner FROM user_names WHERE user_name = digest FOR UPDATE;
    IF owner <> claimant THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = complaint;
    END IF;
END;
CREATE PROCEDURE warden_release(released MEDIUMTEXT CHARACTER SET utf8mb4)
BEGIN
    DECLARE digest BINARY(32) DEFAULT unhex(sha2(released, 256));
    UPDATE user_names SET uses = uses - 1 WHERE user_name = digest;
    DELETE FROM user_names WHERE user_name = digest AND uses < 1;
END;

CREATE TRIGGER devices_inserted AFTER INSERT ON devices FOR EACH ROW BEGIN
    CALL warden_claim(NEW.name, NEW.id, 'this name is an identity of another device');
    CALL warden_log('device', NEW.id);
END;
CREATE TRIGGER devices_touched BEFORE UPDATE ON devices FOR EACH ROW BEGIN
    -- An id is how everything else refers to its row.
    IF NEW.id <> OLD.id THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the id of a device cannot change';
    END IF;
    IF NOT (NEW.name <=> OLD.name AND NEW.status <=> OLD.status AND NEW.client_id <=> OLD.client_id
            AND NEW.attributes <=> OLD.attributes) THEN
        SET NEW.updated_at = date_format(utc_timestamp(), '%Y-%m-%dT%H:%i:%sZ');
    END IF;
END;
CREATE TRIGGER devices_updated AFTER UPDATE ON devices FOR EACH ROW BEGIN
    IF NEW.name <> OLD.name THEN
        CALL warden_release(OLD.name);
        CALL warden_claim(NEW.name, NEW.id, 'this name is an identity of another device');
    END IF;
    IF NOT (NEW.name <=> OLD.name AND NEW.status <=> OLD.status AND NEW.client_id <=> OLD.client_id
            AND NEW.attributes <=> OLD.attributes) THEN
        CALL warden_log('device', NEW.id);
    END IF;
END;
CREATE TRIGGER devices_deleting BEFORE DELETE ON devices FOR EACH ROW BEGIN
    DELETE FROM credentials WHERE device_id = OLD.id;
    DELETE FROM device_roles WHERE device_id = OLD.id;
END;
CREATE TRIGGER devices_deleted AFTER DELETE ON devices FOR EACH ROW BEGIN
    CALL warden_release(OLD.name);
    CALL warden_log('device', OLD.id);
END;

CREATE TRIGGER credentials_inserted AFTER INSERT ON credentials FOR EACH ROW BEGIN
    IF NEW.kind IN ('x509_cn', 'psk', 'password') THEN
        CALL warden_claim(NEW.identity, NEW.device_id, 'this identity already means another device');
    END IF;
    CALL warden_log('device', NEW.device_id);
END;
CREATE TRIGGER credentials_updated AFTER UPDATE ON credentials FOR EACH ROW BEGIN
    IF NEW.kind <> OLD.kind OR NEW.identity <> OLD.identity OR NEW.device_id <> OLD.device_id THEN
        IF OLD.kind IN ('x509_cn', 'psk', 'password') THEN
            CALL warden_release(OLD.identity);
        END IF;
        IF NEW.kind IN ('x509_cn', 'psk', 'password') THEN
            CALL warden_claim(NEW.identity, NEW.device_id, 'this identity already means another device');
        END IF;
    END IF;
    CALL warden_log('device', NEW.device_id);
    IF NEW.device_id <> OLD.device_id THEN
        CALL warden_log('device', OLD.device_id);
    END IF;
END;
CREATE TRIGGER credentials_deleted AFTER DELETE ON credentials FOR EACH ROW BEGIN
    IF OLD.kind IN ('x509_cn', 'psk', 'password') THEN
        CALL warden_release(OLD.identity);
    END IF;
    CALL warden_log('device', OLD.device_id);
END;

CREATE TRIGGER device_roles_inserted AFTER INSERT ON device_roles FOR EACH ROW
    CALL warden_log('device', NEW.device_id);
CREATE TRIGGER device_roles_updated AFTER UPDATE ON device_roles FOR EACH ROW BEGIN
    CALL warden_log('device', OLD.device_id);
    CALL warden_log('device', NEW.device_id);
END;
CREATE TRIGGER device_roles_deleted AFTER DELETE ON device_roles FOR EACH ROW
    CALL warden_log('device', OLD.device_id);

CREATE TRIGGER roles_inserted AFTER INSERT ON roles FOR EACH ROW
    CALL warden_log('role', NEW.id);
CREATE TRIGGER roles_id_is_fixed BEFORE UPDATE ON roles FOR EACH ROW
    IF NEW.id <> OLD.id THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the id of a role cannot change';
    END IF;
CREATE TRIGGER roles_updated AFTER UPDATE ON roles FOR EACH ROW
    CALL warden_log('role', NEW.id);
CREATE TRIGGER roles_deleting BEFORE DELETE ON roles FOR EACH ROW BEGIN
    DELETE FROM rules WHERE role_id = OLD.id;
    DELETE FROM device_roles WHERE role_id = OLD.id;
END;
CREATE TRIGGER roles_deleted AFTER DELETE ON roles FOR EACH ROW
    CALL warden_log('role', OLD.id);

CREATE TRIGGER rules_inserted AFTER INSERT ON rules FOR EACH ROW
    CALL warden_log('role', NEW.role_id);
CREATE TRIGGER rules_updated AFTER UPDATE ON rules FOR EACH ROW BEGIN
    CALL warden_log('role', NEW.role_id);
    IF NEW.role_id <> OLD.role_id THEN
        CALL warden_log('role', OLD.role_id);
    END IF;
END;
CREATE TRIGGER rules_deleted AFTER DELETE ON rules FOR EACH ROW
    CALL warden_log('role', OLD.role_id);

CREATE TRIGGER revoked_certificates_inserted AFTER INSERT ON revoked_certificates FOR EACH ROW
    CALL warden_log('certificate', NEW.id);
CREATE TRIGGER revoked_certificates_updated AFTER UPDATE ON revoked_certificates FOR EACH ROW
    IF NEW.id <> OLD.id OR NEW.issuer <> OLD.issuer OR NEW.serial <> OLD.serial THEN
        CALL warden_log('certificate', OLD.id);
        CALL warden_log('certificate', NEW.id);
    END IF;
CREATE TRIGGER revoked_certificates_deleted AFTER DELETE ON revoked_certificates FOR EACH ROW
    CALL warden_log('certificate', OLD.id);
CREATE TRIGGER crls_id_is_fixed BEFORE UPDATE ON crls FOR EACH ROW
    IF NEW.id <> OLD.id THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the id of a revocation list cannot change';
    END IF;
CREATE TRIGGER crls_deleting BEFORE DELETE ON crls FOR EACH ROW
    DELETE FROM revoked_certificates WHERE crl_id = OLD.id;
