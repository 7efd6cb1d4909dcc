#!/bin/sh
# usage: tests/brokers.sh [--all]
#
# Puts the brokers that the tests run against under target/brokers, in a directory named by the version each reports,
# and by what else makes it different: the installed one, and those of the Debian releases below that it is not. What is
# there already is left alone. Exits 0 if there is at least one broker; with --all only if there is one of each release.
set -eu

cd "$(dirname "$0")/.."
all=no
case ${1-} in
    '') ;;
    --all) all=yes ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
brokers=target/brokers
mkdir -p "$brokers"
version_of() { "$@" -h 2>/dev/null | sed -n 's/^mosquitto version \([0-9][^ ]*\).*/\1/p' | head -n 1; }
report() { printf '%-17s %s\n' "$1" "$2"; }

installed=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mosquitto || true)
if [ -n "$installed" ]; then
    version=$(version_of "$installed")
    if [ -n "$version" ] && [ "$(version_of "$brokers/$version/mosquitto.sh")" != "$version" ]; then
        rm -rf "${brokers:?}/$version"
        mkdir -p "$brokers/$version"
        printf '#!/bin/sh\nexec %s "$@"\n' "$installed" >"$brokers/$version/mosquitto.sh"
        chmod +x "$brokers/$version/mosquitto.sh"
    fi
    report "${version:-none}" "installed, $installed"
else
    report none "no mosquitto is installed: make deps"
fi

# A directory whose broker does not run (any more) is in the way of nothing.
have() {
    for directory in "$brokers"/$1; do
        name=${directory##*/}
        [ -n "$(version_of "$directory/mosquitto.sh")" ] && return 0
    done
    return 1
}

missing=
# version, as a pattern, the Debian suite that has it, and what else is part of its name
while read -r pattern suite more; do
    if have "$pattern$more"; then
        report "$name" "for $suite, ready"
    elif why=$(tests/get-broker.sh "$suite" "$brokers/.$suite" 2>&1 </dev/null); then
        name=$(version_of "$brokers/.$suite/mosquitto.sh")$more
        rm -rf "${brokers:?}/$name"
        mv "$brokers/.$suite" "$brokers/$name"
        report "$name" "fetched from $suite"
    else
        missing="$missing $suite"
        report none "from $suite: $(printf '%s' "$why" | tr '\n' ' ')"
    fi
done <<SUITES
2.0.11 bookworm
2.0.2[0-9] bookworm-backports
2.0.2[0-9] trixie -openssl3.5
2.1.* forky
SUITES

[ -z "$missing" ] || echo "missing:$missing"
[ "$all" = no ] || [ -z "$missing" ] || exit 1
have '*'
