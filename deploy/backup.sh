#!/usr/bin/env bash
# Dumps the database that the PG… variables name into /backups, once at the start and then each night at 03:00.
set -euo pipefail
umask 077
trap exit TERM INT

dump() {
  local file
  file=/backups/waule-$(date -u +%Y%m%dT%H%M%SZ).dump
  if pg_dump --format=custom --file="$file.part"; then
    mv "$file.part" "$file"
    find /backups -name 'waule-*.dump' -mtime "+$BACKUP_DAYS" -delete
    echo "backed up: $file ($(stat -c %s "$file") bytes)"
  else
    rm -f "$file.part"
    echo "the backup failed" >&2
  fi
}

while true; do
  dump
  sleep $(( $(date -d 'tomorrow 03:00' +%s) - $(date +%s) )) &
  wait $!
done
