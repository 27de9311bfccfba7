#!/bin/sh
# Creates the secrets of compose.yaml: a database password and a certificate for the web server.
# Existing ones are kept.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets certificates

if [ ! -e secrets/postgres_password ]; then
    password=$(openssl rand -hex 24)
    printf '%s' "$password" >secrets/postgres_password
    printf 'postgres:5432:sij:sij:%s\n' "$password" >secrets/pgpass
fi
if [ ! -e certificates/page.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,DNS:web,IP:127.0.0.1 \
        -keyout certificates/page-key.pem -out certificates/page.pem 2>/dev/null
fi
# The containers read these as user 10001; libpq wants its password file private.
if [ "$(id -u)" -eq 0 ]; then
    chown 10001:10001 secrets/pgpass certificates/page-key.pem certificates/page.pem
    chmod 755 certificates
    chmod 644 secrets/postgres_password
else
    echo "Run as root, or give secrets/pgpass and certificates to user 10001." >&2
fi
echo "Ready: docker compose -f deploy/compose/compose.yaml up -d"
