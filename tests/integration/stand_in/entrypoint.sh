#!/bin/sh
# What the entrypoints of the official images do, as far as compose.yaml uses it.
set -eu
case "${1:-postgres}" in
    postgres)
        export PGDATA="${PGDATA:-/var/lib/postgresql/data}"
        if [ ! -s "$PGDATA/PG_VERSION" ]; then
            : "${POSTGRES_PASSWORD:?}"
            mkdir -p "$PGDATA" && chmod 700 "$PGDATA"
            printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
            initdb --encoding=UTF8 --locale=C.UTF-8 --username="${POSTGRES_USER:-postgres}" --pwfile=/tmp/password >/dev/null
            rm /tmp/password
            printf 'host all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
        fi
        exec postgres -c listen_addresses='*'
        ;;
    *) exec "$@" ;;
esac
