#!/bin/sh
# usage: tests/get-broker.sh SUITE DEST
#
# Unpacks the mosquitto of that Debian suite into DEST, together with every library it needs, libc included, and writes
# DEST/mosquitto.sh, which runs it. Nothing is installed: apt works in a private root, so this needs no privileges.
# The mirror, and a proxy if there is one, are those of this machine's own apt configuration.
set -eu

[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
suite=$1 dest=$2
fail() { echo "get-broker.sh: $*" >&2; exit 1; }

if [ -x "$dest/mosquitto.sh" ] && "$dest/mosquitto.sh" -h 2>/dev/null | grep -q '^mosquitto version'; then exit 0; fi

for tool in apt-get dpkg-deb; do command -v "$tool" >/dev/null || fail "no \`$tool\`: this works on Debian only"; done
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp
[ -r "$keyring" ] || fail "no Debian archive keyring: install \`debian-archive-keyring\`"
# apt itself reads its sources, so sources.list and *.sources are the same to us.
# shellcheck disable=SC2016  # apt's variables, not the shell's
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)' |
    awk '$1 == "Packages" && $2 == "main" && $3 !~ /-(security|updates|backports)$/ { print $4; exit }')
[ -n "$mirror" ] || fail "no Debian mirror among this machine's apt sources"

mkdir -p "$(dirname "$dest")"
root=$(mktemp -d)
half="$dest.half"
trap 'rm -rf "$root" "$half"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$half"
mkdir -p "$half" "$root/etc/apt/sources.list.d" "$root/etc/apt/preferences.d" "$root/etc/apt/apt.conf.d" \
    "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial" "$root/var/lib/dpkg"
# An empty list of installed packages makes apt fetch the whole closure.
: >"$root/var/lib/dpkg/status"
for base in "${suite%-backports}" "$suite"; do echo "deb [signed-by=$keyring] $mirror $base main"; done |
    sort -u >"$root/etc/apt/sources.list"

# Read after the machine's own configuration, which keeps its proxy and loses its hooks.
cat >"$root/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir "$root";
Dir::State::status "$root/var/lib/dpkg/status";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Debug::NoLocking "true";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
CONF
private_apt() { apt-get -qq -c "$root/apt.conf" "$@"; }
private_apt update || fail "no package lists of $suite from $mirror"
private_apt -y --download-only -t "$suite" install mosquitto >/dev/null || fail "no mosquitto of $suite from $mirror"
for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$half"; done

# Some packages ship a library without the link by which it is looked up.
for libraries in "$half"/usr/lib/*-linux-gnu "$half"/lib/*-linux-gnu; do
    if [ -d "$libraries" ]; then /sbin/ldconfig -n "$libraries"; fi
done
loader=$(find "$half" -name 'ld-linux*.so.*' -path '*-linux-gnu*' | head -n 1)
[ -n "$loader" ] || fail "no dynamic loader among the packages of $suite"
triplet=$(basename "$(dirname "$loader")")
cat >"$half/mosquitto.sh" <<RUN
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/${loader#"$half"/}" --library-path "\$here/usr/lib/$triplet:\$here/lib/$triplet" "\$here/usr/sbin/mosquitto" "\$@"
RUN
chmod 755 "$half" "$half/mosquitto.sh"
"$half/mosquitto.sh" -h | grep -q '^mosquitto version' || fail "the mosquitto of $suite does not run here"
rm -rf "$dest"
mv "$half" "$dest"
