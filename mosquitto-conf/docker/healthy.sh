#!/bin/sh
# Whether the broker is well: a device of its own publishes a message, over TLS, and is not refused.
set -eu

broker=${WARDEN_BROKER:-/etc/mosquitto/warden}
said=$(mosquitto_pub -h localhost -p "${WARDEN_BROKER_PORT:-8883}" --cafile "$broker/ca.crt" \
    --cert "$broker/healthcheck.crt" --key "$broker/healthcheck.key" -V 5 -q 1 -i healthcheck -t health/healthcheck -n 2>&1)
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
