#!/usr/bin/env bash
# `make demo`: a broker, two devices, and what each step proves. Leaves nothing behind.
#
# WARDEN_DEMO_BROKER names another Mosquitto than the installed one.
set -euo pipefail
cd "$(dirname "$0")/.."

mosquitto=${WARDEN_DEMO_BROKER:-$(PATH=$PATH:/usr/sbin command -v mosquitto)}
echo "building the plugin and the command"
cargo build --release --quiet
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
warden=$target/release/warden

work=$(mktemp -d "${TMPDIR:-/tmp}/warden-demo.XXXXXX")
broker=
listener=
failed=0
clean_up() {
    trap - EXIT
    [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
    [ -z "$broker" ] || kill "$broker" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

pass() { printf '  \033[32m✓\033[0m %s\n' "$1"; }
fail() { printf '  \033[31m✗\033[0m %s\n' "$1"; failed=$((failed + 1)); }
holds() { # WHAT COMMAND...
    local what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what"; fi
}
says() { grep -qF -- "$2" "$work/$1" 2>/dev/null; }
# refused WORDS COMMAND...: the command fails, and the plugin has said so in the broker's log in these words.
refused() {
    local words=$1 before
    shift
    before=$(grep -cF "$words" "$work/broker.log") || true
    ! "$@" && waits_for more_than "$before" "$words"
}
more_than() { [ "$(grep -cF "$2" "$work/broker.log")" -gt "$1" ]; }
waits_for() {
    local until=$((SECONDS + 10))
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        read -r -t 0.05 <>"$work/never" || true
    done
}

mkfifo "$work/never"
mkdir -p "$work/etc" "$work/data" "$work/lib"
chmod 755 "$work"
cp "$target/release/libmosquitto_warden.so" "$work/lib/"

# A CA of one's own, a certificate for the broker and one for each device that has any.
certificate() { # NAME SUBJECT [OPTION...]
    local name=$1 subject=$2
    shift 2
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "$subject" \
        -keyout "$work/etc/$name.key" -out "$work/etc/$name.crt" "$@" 2>/dev/null
}
signed=(-CA "$work/etc/ca.crt" -CAkey "$work/etc/ca.key" -addext "basicConstraints=critical,CA:FALSE")
certificate ca "/CN=demo CA"
certificate server /CN=localhost "${signed[@]}" -addext subjectAltName=DNS:localhost,IP:127.0.0.1
certificate device-001 /CN=device-001 "${signed[@]}"
certificate stranger /CN=stranger "${signed[@]}"

echo "a fleet of two: device-001 has a certificate, device-002 a pre-shared key"
export WARDEN_DATABASE=$work/data/warden.db WARDEN_KEY_FILE=$work/data/warden.key
typed() { printf '  \033[2m$ %s\033[0m\n' "$*" >&2; }
run() { typed warden "$@"; "$warden" "$@"; }
run init >/dev/null
run role add sensor --client-id '%u*' >/dev/null
run rule add sensor allow publish 'devices/%u/#' >/dev/null
run rule add sensor allow read 'devices/%u/cmd' >/dev/null
run device add device-001 --cn --role sensor >/dev/null
psk=$(run device add device-002 --psk --role sensor --json | sed -n 's/.*"key": *"\([0-9a-f]*\)".*/\1/p')
if [ "$(id -u)" = 0 ]; then
    # The broker that root starts becomes another user.
    owner=$(id -un mosquitto 2>/dev/null || echo nobody)
    chown -R "$owner" "$work/data" "$work/etc/server.key"
fi

# The example configuration, with our paths and with ports that are free.
start_broker() {
    local port=$1
    sed -e "s|/etc/mosquitto/warden/|$work/etc/|; s|/usr/lib/mosquitto-warden/|$work/lib/|; s|/var/lib/mosquitto/|$work/data/|" \
        -e "s|^listener 8883|listener $port 127.0.0.1|; s|^listener 8884|listener $((port + 1)) 127.0.0.1|" \
        mosquitto-conf/fleet.conf >"$work/etc/mosquitto.conf"
    "$mosquitto" -v -c "$work/etc/mosquitto.conf" 2>"$work/broker.log" &
    broker=$!
    until grep -q 'mosquitto version .* running' "$work/broker.log"; do
        if ! kill -0 $broker 2>/dev/null; then wait $broker || true; broker=; return 1; fi
        read -r -t 0.05 <>"$work/never" || true
    done
}
sed "s|/var/lib/mosquitto/|$work/data/|" mosquitto-conf/warden.toml >"$work/etc/warden.toml"
for _ in 1 2 3 4 5; do
    port=$((RANDOM % 20000 + 10000))
    if start_broker $port; then break; fi
    grep -q 'Address already in use' "$work/broker.log" || break
done
[ -n "$broker" ] || { cat "$work/broker.log"; echo "the broker did not start" >&2; exit 1; }
echo "$(sed -n 's/.*\(mosquitto version .*\) running.*/\1/p' "$work/broker.log"), with mosquitto-conf/fleet.conf"

with_certificate() { # NAME
    printf '%s\n' -h 127.0.0.1 -p "$port" --cafile "$work/etc/ca.crt" --cert "$work/etc/$1.crt" --key "$work/etc/$1.key"
}
with_key() { # IDENTITY KEY
    printf '%s\n' -h 127.0.0.1 -p $((port + 1)) --psk-identity "$1" --psk "$2"
}
publish() { # ARGUMENT...: succeeds only if the broker accepts the message
    mosquitto_pub "${login[@]}" -V 5 -q 1 "$@" >"$work/pub" 2>&1 || return 1
    ! grep -qi 'not authorized' "$work/pub"
}
meets() { # ALERT: the broker ends the handshake with the certificate in `login` by this TLS alert
    timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "${login[5]}" -cert "${login[7]}" -key "${login[9]}" \
        <>"$work/never" >"$work/tls" 2>&1 || true
    says tls "SSL alert number $1"
}
subscribe() { # FILTER: fails only if the broker denies it
    timeout 20 mosquitto_sub "${login[@]}" -V 5 -d -i "$device" -t "$1" -W 2 >"$work/sub" 2>&1 || true
    ! says sub 'All subscription requests were denied'
}
listen() { # the device's own commands, and go on
    : >"$work/live"
    stdbuf -oL mosquitto_sub "${login[@]}" -d -i "$device-live" -t "devices/$device/cmd" >>"$work/live" 2>&1 &
    listener=$!
}
stop_listening() { kill "$listener" 2>/dev/null || true; wait "$listener" 2>/dev/null || true; listener=; }
# Its session has ended: it connects for a second time, or it has given up.
thrown_off() { [ "$(grep -c 'sending CONNECT' "$work/live")" -gt 1 ] || ! kill -0 "$listener" 2>/dev/null; }
update() {
    typed "sqlite3 warden.db \"$1\""
    sqlite3 -cmd '.timeout 5000' "$WARDEN_DATABASE" "$1"
}

story() { # DEVICE OTHER COMMAND...: the command is for when the device is revoked
    device=$1
    local other=$2
    listen
    holds "$device connects, and subscribes to its own commands" waits_for says live 'Subscribed (mid: 1)'
    holds "$device publishes below its own name" publish -i "$device" -t "devices/$device/temperature" -m 21
    publish -i "$device" -t "devices/$device/cmd" -m 'blink twice' || true
    holds "$device receives its own command" waits_for says live 'blink twice'
    holds "$device may not publish as $other" \
        refused reason=no-rule publish -i "$device" -t "devices/$other/temperature" -m 99
    # shellcheck disable=SC2016  # a shared subscription, no variable
    for filter in '#' 'devices/+/cmd' '$share/g/#' "devices/$other/cmd"; do
        holds "$device may not subscribe to $filter" refused reason=no-rule subscribe "$filter"
    done
    holds "$device may not connect as client $other" \
        refused reason=client-id-mismatch publish -i "$other" -t "devices/$device/temperature" -m 21

    update "UPDATE devices SET status='revoked' WHERE name='$device'"
    holds "$device is thrown off the running broker" waits_for thrown_off
    stop_listening
    holds "$device is refused in the TLS handshake when it comes back" \
        refused "action=handshake user=$device device=$device reason=device-revoked" \
        publish -i "$device" -t "devices/$device/temperature" -m 21
    "${@:3}"
    update "UPDATE devices SET status='active' WHERE name='$device'"
    holds "$device is let in again, and the broker has not been restarted" \
        publish -i "$device" -t "devices/$device/temperature" -m 21
}

echo "mutual TLS"
mapfile -t login < <(with_certificate device-001)
story device-001 device-002 holds "device-001 meets TLS alert 44, certificate_revoked" meets 44
mapfile -t login < <(with_certificate stranger)
holds "a certificate whose name no device has does not complete the handshake" \
    refused "action=handshake user=stranger reason=unknown-identity" publish -i stranger -t devices/stranger/a -m 1

echo "TLS with a pre-shared key"
mapfile -t login < <(with_key device-002 "$psk")
story device-002 device-001
mapfile -t login < <(with_key stranger "$psk")
holds "an identity that no device has does not complete the handshake" \
    refused "action=handshake user=stranger reason=unknown-identity" publish -i stranger -t devices/stranger/a -m 1

kill -0 "$broker" 2>/dev/null || fail "the broker has ended"
if [ $failed -gt 0 ]; then
    echo "the broker's log:"
    cat "$work/broker.log"
    echo "$failed of the steps above did not hold" >&2
    exit 1
fi
echo "every step held; the broker was never restarted, nor told to reload"
