#!/bin/sh
# Makes a PostgreSQL image from Debian's packages: postgres.sh ARCHIVE.tar (default: target/images/peers/postgres.tar).
#
# For tests on machines that reach no registry. It carries the name that the examples use, and behaves as the image of that name in
# what they need: POSTGRES_PASSWORD and PGDATA, arguments for the server or another program of PostgreSQL, any uid, SIGINT to stop.
# Needs apt-get, dpkg and tar; no root, no daemon.
set -eu
image=docker.io/library/postgres:15
root=$(cd "$(dirname "$0")/../.." && pwd)
archive=${1:-${CARGO_TARGET_DIR:-$root/target}/images/peers/postgres.tar}

# Server, clients, time zones, a shell for the start, and the libraries that they are linked with (without LLVM, which is for JIT).
packages="postgresql-15 postgresql-client-15 tzdata dash coreutils libacl1 libattr1 libaudit1 libc6 libcap-ng0 libcap2 libcom-err2
libffi8 libgcc-s1 libgcrypt20 libgmp10 libgnutls30 libgpg-error0 libgssapi-krb5-2 libhogweed6 libicu72 libidn2-0 libk5crypto3
libkeyutils1 libkrb5-3 libkrb5support0 libldap-2.5-0 liblz4-1 liblzma5 libnettle8 libp11-kit0 libpam0g libpcre2-8-0 libpq5
libreadline8 libsasl2-2 libselinux1 libssl3 libstdc++6 libsystemd0 libtasn1-6 libtinfo6 libunistring2 libxml2 libzstd1 zlib1g"
# shellcheck source=unpack.sh
. "$root/docker/peers/unpack.sh"

rm -rf usr/share/doc usr/share/man usr/share/lintian usr/share/locale usr/lib/*/gconv usr/lib/postgresql/15/lib/bitcode
rm -f usr/lib/postgresql/15/lib/llvmjit*
mkdir -p etc tmp var/run/postgresql usr/local/bin
chmod 1777 tmp var/run/postgresql
echo 'postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/false' >etc/passwd
# The databases of the peers' pods have user ids of their own, and libpq wants a name for its user id.
echo 'nobody:x:65532:65532:nobody:/:/bin/false' >>etc/passwd
echo 'postgres:x:999:' >etc/group
cat >usr/local/bin/docker-entrypoint.sh <<'ENTRYPOINT'
#!/bin/sh
# Arguments alone are the server's. A new server gets its files and the superuser's password first.
set -e
case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  [ -n "$POSTGRES_PASSWORD" ] || { echo "error: POSTGRES_PASSWORD is not set" >&2; exit 1; }
  echo "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password --auth=scram-sha-256 --no-locale --encoding=UTF8
  rm /tmp/password
fi
exec "$@"
ENTRYPOINT
chmod 755 usr/local/bin/docker-entrypoint.sh

"$root/docker/peers/pack.sh" "$work/root" "$archive" "$image" <<'JSON'
{"User":"999","Env":["PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin","PGDATA=/var/lib/postgresql/data","LANG=C.UTF-8"],
"Entrypoint":["docker-entrypoint.sh"],"Cmd":["postgres"],"ExposedPorts":{"5432/tcp":{}},"StopSignal":"SIGINT"}
JSON
