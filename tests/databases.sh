#!/usr/bin/env bash
# usage: tests/databases.sh COMMAND [ARGUMENT...]
#
# Runs COMMAND while a PostgreSQL and a MariaDB of its own are there, on loopback and on sockets in a new directory, and
# ends with its exit code. WARDEN_TEST_POSTGRES and WARDEN_TEST_MYSQL are their addresses, for a user who may do all and
# needs no password. PostgreSQL asks the members of `by_password` for theirs.
#
# Both offer TLS, without which WARDEN_TEST_TLS=off has them: else it becomes a directory with the certificate of their
# authority (ca.crt) and of one that has nothing to do with them (other-ca.crt). Their own say `localhost`.
#
# Both are gone afterwards, with all that they have written, however COMMAND ends.
set -eu

[ $# -gt 0 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "databases.sh: $*" >&2; exit 1; }

PATH=$PATH:/usr/sbin:/usr/local/sbin
postgres=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
postgres=${postgres%/initdb}
[ -n "$postgres" ] || postgres=$(dirname "$(command -v initdb || echo none/none)")
[ -x "$postgres/initdb" ] || fail "no PostgreSQL server is installed: make deps"
[ -n "$(command -v psql)" ] || fail "no psql is installed: make deps"
for tool in mariadbd mariadb-install-db mariadb; do
    [ -n "$(command -v $tool)" ] || fail "no MariaDB server is installed: make deps"
done

directory=$(mktemp -d /tmp/warden-databases.XXXXXX)
chmod 755 "$directory"
# Neither server runs as root, and none outlives this shell.
as='setpriv --pdeathsig QUIT' user=$(id -un)
if [ "$(id -u)" = 0 ]; then
    user=nobody
    as="$as --reuid=nobody --regid=$(id -g nobody) --clear-groups"
fi
servers='' command=''
# shellcheck disable=SC2317  # the trap comes here
stop() {
    trap - EXIT HUP INT TERM
    [ -z "$command" ] || kill -TERM -- "-$command" 2>/dev/null || true
    # At once, and without leaving shared memory behind.
    # shellcheck disable=SC2086  # a list of numbers
    [ -z "$servers" ] || { kill -QUIT $servers && wait $servers; } 2>/dev/null || true
    rm -rf "$directory"
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$directory/postgres" "$directory/mysql" "$directory/tls"
authority='-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
for name in ca other-ca; do
    # shellcheck disable=SC2086  # a list of options
    openssl req $authority -subj "/CN=$name" -keyout "$directory/tls/$name.key" -out "$directory/tls/$name.crt" 2>/dev/null
done
# shellcheck disable=SC2086
openssl req $authority -CA "$directory/tls/ca.crt" -CAkey "$directory/tls/ca.key" -subj /CN=localhost \
    -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost \
    -keyout "$directory/tls/server.key" -out "$directory/tls/server.crt" 2>/dev/null || fail "openssl makes no certificate"
for server in postgres mysql; do cp "$directory/tls/server.crt" "$directory/tls/server.key" "$directory/$server"; done
chmod 600 "$directory"/*/server.key
chown -R "$user" "$directory/postgres" "$directory/mysql"

# A port that nobody listens on, below those that the system gives to outgoing connections.
free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}
postgres_port=$(free_port) mysql_port=$(free_port)

postgres_tls="-c ssl=on -c ssl_cert_file=$directory/postgres/server.crt -c ssl_key_file=$directory/postgres/server.key"
mysql_tls="--ssl-cert=$directory/mysql/server.crt --ssl-key=$directory/mysql/server.key"
[ "${WARDEN_TEST_TLS:-}" != off ] || { postgres_tls='' mysql_tls=--skip-ssl; }

cd "$directory"
# shellcheck disable=SC2086  # `as` is a command
$as "$postgres/initdb" -D postgres/data -U warden -A trust -E UTF8 --no-locale --no-sync >postgres/log 2>&1 ||
    fail "initdb: $(tail -n 3 postgres/log)"
cat >postgres/data/pg_hba.conf <<'END'
local all +by_password scram-sha-256
host all +by_password all scram-sha-256
local all all trust
host all all all trust
END
# shellcheck disable=SC2086
$as "$postgres/postgres" -D "$directory/postgres/data" -k "$directory/postgres" -p "$postgres_port" \
    -c listen_addresses=127.0.0.1,::1 -c fsync=off -c max_connections=200 \
    $postgres_tls >>postgres/log 2>&1 &
servers=$!
# shellcheck disable=SC2086
$as mariadb-install-db --no-defaults --user="$user" --datadir="$directory/mysql/data" --skip-test-db \
    --auth-root-authentication-method=normal --tmpdir="$directory/mysql" >mysql/log 2>&1 || fail "mariadb-install-db: $(tail -n 3 mysql/log)"
# shellcheck disable=SC2086
$as mariadbd --no-defaults --user="$user" --datadir="$directory/mysql/data" --socket="$directory/mysql/socket" \
    --bind-address=127.0.0.1 --port="$mysql_port" --pid-file="$directory/mysql/pid" --tmpdir="$directory/mysql" --max-connections=300 \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --skip-log-bin \
    $mysql_tls >>mysql/log 2>&1 &
servers="$servers $!"

WARDEN_TEST_POSTGRES="postgres://warden@127.0.0.1:$postgres_port/postgres?sslmode=disable"
WARDEN_TEST_MYSQL="mysql://root@127.0.0.1:$mysql_port/mysql?ssl-mode=DISABLED"
WARDEN_TEST_TLS=$directory/tls
export WARDEN_TEST_POSTGRES WARDEN_TEST_MYSQL WARDEN_TEST_TLS
deadline=$(($(date +%s) + 60))
until psql -qAtc 'SELECT 1' "$WARDEN_TEST_POSTGRES" >/dev/null 2>&1 &&
    mariadb --no-defaults -h 127.0.0.1 -P "$mysql_port" -u root -e 'SELECT 1' >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || fail "a server does not answer: $(tail -n 5 postgres/log mysql/log)"
    sleep 0.1
done
psql -qc 'CREATE ROLE by_password' "$WARDEN_TEST_POSTGRES"
cd "$OLDPWD"
# In a process group of its own, which ends with this shell, and at once when this one is told to.
set -m
"$@" <&0 &
command=$!
set +m
code=0
wait "$command" || code=$?
exit $code
