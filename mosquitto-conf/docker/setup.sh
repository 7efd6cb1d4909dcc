#!/bin/sh
# What docker-compose.yml runs before the broker: roles, database and schema, a CA and the broker's certificate, and a
# sample device with a certificate and another with a pre-shared key. What is there is kept, so it can run again.
#
# Everything belongs to the user that runs this, and nobody else reads it.
set -eu
umask 077

secrets=${WARDEN_SECRETS:-/run/warden/secrets}             # passwords.sh has filled it
authority=${WARDEN_AUTHORITY:-/run/warden/authority}       # for whoever governs the fleet
broker=${WARDEN_BROKER:-/etc/mosquitto/warden}             # for the broker
devices=${WARDEN_DEVICES:-/run/warden/devices}             # what the sample devices have
socket=${WARDEN_SOCKET:-/var/run/postgresql} port=${WARDEN_PORT:-5432}
superuser=${WARDEN_SUPERUSER:-postgres} database=${WARDEN_FLEET:-fleet}

password() { cat "$secrets/$1"; }
sql() { # PASSWORD ROLE DATABASE: runs what standard input says
    PGPASSWORD=$(password "$1") psql -Xqv ON_ERROR_STOP=1 -h "$socket" -p "$port" -U "$2" -d "$3"
}
# FILE: what standard input says, as a whole or not at all.
written() { cat >"$1.new" && mv "$1.new" "$1"; }
# The password goes into a file and through a pipe, where `ps` does not look.
address() { echo "postgres://$1:$(password "$1")@localhost/$database?host=$socket&port=$port"; }

sql postgres "$superuser" postgres <<END
SELECT 'CREATE ROLE ' || name || ' LOGIN' FROM unnest(ARRAY['fleet_owner', 'mosquitto']) AS wanted (name)
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE fleet_owner PASSWORD '$(password fleet_owner)';
ALTER ROLE mosquitto PASSWORD '$(password mosquitto)';
SELECT 'CREATE DATABASE "$database" OWNER fleet_owner'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '$database') \gexec
REVOKE ALL ON DATABASE "$database" FROM PUBLIC;
END

address fleet_owner | written "$authority/database.url"
written "$authority/warden.toml" <<END
database_url_file = "$authority/database.url"
key_file = "$broker/warden.key"
END
address mosquitto | written "$broker/database.url"
written "$broker/warden.toml" <<END
database_url_file = "$broker/database.url"
key_file = "$broker/warden.key"
END
export WARDEN_CONFIG="$authority/warden.toml"
warden init
warden db grant-sql --plugin-role mosquitto | sql fleet_owner fleet_owner "$database"

# For a month at least it is good.
good() { [ -s "$1" ] && openssl x509 -checkend 2592000 -noout -in "$1" >/dev/null; }
self_signed() { # FILES SUBJECT DAYS [OPTION...]
    files=$1 subject=$2 days=$3
    shift 3
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$subject" -days "$days" \
        -keyout "$files.key.new" -out "$files.crt.new" "$@" 2>/dev/null
    mv "$files.key.new" "$files.key"
    mv "$files.crt.new" "$files.crt"
}
signed() { # FILES SUBJECT USAGE [OPTION...]
    files=$1 subject=$2 usage=$3
    shift 3
    good "$files.crt" || self_signed "$files" "$subject" 365 -CA "$authority/ca.crt" -CAkey "$authority/ca.key" \
        -addext basicConstraints=critical,CA:FALSE -addext "extendedKeyUsage=$usage" "$@"
}
good "$authority/ca.crt" || self_signed "$authority/ca" 'sample CA of mosquitto-warden' 3650 \
    -addext keyUsage=critical,keyCertSign,cRLSign
for place in "$broker" "$devices"; do written "$place/ca.crt" <"$authority/ca.crt"; done
signed "$broker/server" broker serverAuth -addext subjectAltName=DNS:broker,DNS:localhost,IP:127.0.0.1
signed "$broker/healthcheck" healthcheck clientAuth
signed "$devices/sample-certificate" sample-certificate clientAuth
[ -s "$devices/sample-psk.key" ] || openssl rand -hex 32 | written "$devices/sample-psk.key"

role() { # ROLE RULE...: a role with the rules that it lacks
    role=$1
    shift
    warden role add "$role" --client-id '%u*' --if-missing
    rules=$(warden rule list "$role")
    for rule; do
        # shellcheck disable=SC2086  # a rule is an action and a topic
        case $rules in *"${rule#* }"*) ;; *) warden rule add "$role" allow $rule ;; esac
    done
}
if [ ! -e "$authority/sample-fleet" ]; then
    role health 'publish health/%u'
    role sensor 'publish devices/%u/#' 'read devices/%u/cmd'
    warden device add healthcheck --cn --role health --if-missing
    warden device add sample-certificate --cn --role sensor --if-missing
    warden device add sample-psk --role sensor --if-missing
    warden credential list sample-psk | grep -q psk || warden credential add sample-psk psk --key-stdin <"$devices/sample-psk.key"
    # From now on the fleet is its owner's, whatever becomes of the samples.
    : >"$authority/sample-fleet"
fi
