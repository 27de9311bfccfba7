#!/bin/sh
# Backs up a node while it runs: the database first, then the spool that its rows name.
#
#   backup.sh DATA_FOLDER OUT_FOLDER                 SQLite, the file jobs.sqlite in the data folder
#   DATABASE_URL=postgresql://... backup.sh ...      PostgreSQL, by pg_dump
#
# A spool file never changes and exists before its database row. A database copy that is older than
# the spool copy therefore never names a missing file, unless studies past retention_days were cleared
# in between. Both are written to a .part folder and renamed at the end: a backup without .part is
# complete.
set -eu
[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64; }
data=$1
out=$2/sij-node-$(date -u +%Y%m%dT%H%M%SZ)
[ -d "$data/spool" ] || { echo "$data holds no spool; is it the data folder?" >&2; exit 66; }
umask 077
mkdir -p "$2"
rm -rf "$out.part"
mkdir "$out.part"

if [ -n "${DATABASE_URL:-}" ]; then
    pg_dump --format=custom --no-owner --file="$out.part/database.dump" "$DATABASE_URL"
else
    sqlite3 -cmd '.timeout 30000' "file:$data/jobs.sqlite?mode=ro" ".backup '$out.part/jobs.sqlite'"
    [ "$(sqlite3 "$out.part/jobs.sqlite" 'PRAGMA integrity_check')" = ok ]
fi
# incoming holds objects that are still being received and not yet acknowledged.
tar --create --file="$out.part/data.tar" --directory="$data" \
    --exclude='./spool/incoming/*' --exclude='./jobs.sqlite*' --warning=no-file-changed \
    --warning=no-file-removed . || [ $? -eq 1 ]
(cd "$out.part" && sha256sum -- * >SHA256SUMS)
sync
mv "$out.part" "$out"
echo "$out"
