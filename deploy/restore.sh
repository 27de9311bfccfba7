#!/bin/sh
# Restores a backup made by backup.sh. Stop the node first.
#
#   restore.sh BACKUP DATA_FOLDER                    SQLite
#   DATABASE_URL=postgresql://... restore.sh ...     PostgreSQL: into a database that is empty
#
# The data folder must be empty or missing: nothing is overwritten. Studies received after the backup
# are not in it; send them again. Then run `sij-node doctor`.
set -eu
[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64; }
backup=$1
data=$2
if [ -d "$data" ] && [ -n "$(ls -A "$data")" ]; then
    echo "$data is not empty; move it away first." >&2
    exit 73
fi
(cd "$backup" && sha256sum --check --quiet SHA256SUMS)
umask 077
mkdir -p "$data"
if [ -e "$backup/database.dump" ]; then
    : "${DATABASE_URL:?names the PostgreSQL database to restore into}"
    pg_restore --no-owner --exit-on-error --single-transaction --dbname="$DATABASE_URL" \
        "$backup/database.dump"
fi
tar --extract --file="$backup/data.tar" --directory="$data"
[ ! -e "$backup/jobs.sqlite" ] || cp "$backup/jobs.sqlite" "$data/jobs.sqlite"
mkdir -p "$data/spool/incoming"
sync
echo "Restored to $data. Make the node's user its owner, then run: sij-node doctor"
