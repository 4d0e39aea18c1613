#!/bin/sh
# Runs once, in an empty data folder: Sequin's user and its own database. The rights on the outbox
# are given when the migrations have made it (the job `sequin-rights`).
set -eu
password=$(cat /run/secrets/sequin_password)
psql -v ON_ERROR_STOP=1 -v password="$password" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
create user sequin with replication password :'password';
create database sequin owner sequin;
grant connect on database posthorn to sequin;
SQL
