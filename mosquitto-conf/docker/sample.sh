#!/bin/sh
# usage: sample.sh certificate|psk
#
# Publishes a message as one of the two sample devices, and says whether the broker has taken it.
set -eu

devices=${WARDEN_DEVICES:-/run/warden/devices} host=${WARDEN_BROKER_HOST:-broker}
case ${1:-} in
certificate)
    set -- -p "${WARDEN_BROKER_PORT:-8883}" --cafile "$devices/ca.crt" \
        --cert "$devices/sample-certificate.crt" --key "$devices/sample-certificate.key" -i sample-certificate \
        -t devices/sample-certificate/temperature
    ;;
psk)
    set -- -p "${WARDEN_BROKER_PORT:-8884}" --psk-identity sample-psk --psk "$(cat "$devices/sample-psk.key")" -i sample-psk \
        -t devices/sample-psk/temperature
    ;;
*)
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
said=$(mosquitto_pub -h "$host" -V 5 -q 1 -m 21 "$@" 2>&1) || { echo "refused: $said" >&2; exit 1; }
[ -z "$said" ] || { echo "refused: $said" >&2; exit 1; }
echo published
