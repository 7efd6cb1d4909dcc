#!/bin/sh
# What docker-compose.yml runs first: makes the passwords of the database's roles, if they are not there yet.
set -eu
umask 027

secrets=${WARDEN_SECRETS:-/run/warden/secrets}
for role in postgres fleet_owner mosquitto; do
    [ ! -s "$secrets/$role" ] || continue
    openssl rand -hex 32 >"$secrets/$role.new"
    mv "$secrets/$role.new" "$secrets/$role"
done
