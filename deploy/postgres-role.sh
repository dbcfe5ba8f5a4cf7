#!/bin/sh
# Run by the image of PostgreSQL as it makes a new database: Penjing gets a role that owns the
# database `penjing` and may do nothing beside it. The superuser has no password from then on, and so
# does not get in over the network; `docker compose exec postgres psql --username postgres` does.
set -eu

psql --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" --username postgres <<'END'
CREATE ROLE penjing LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE penjing OWNER penjing;
REVOKE CONNECT, TEMPORARY ON DATABASE penjing FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
END
