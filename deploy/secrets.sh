#!/bin/sh
# Makes the files in secrets/ that docker-compose.yml hands to the containers; what is there stays.
set -eu
cd "$(dirname "$0")/.."
umask 022 # the containers' users are not you: they read the files, nobody else enters the folder
[ -d secrets ] || mkdir -m 700 secrets

random() { od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make() { [ -e "secrets/$1.txt" ] || printf '%s\n' "$2" >"secrets/$1.txt"; }

make luma_api_key ''
make luma_agents_api_key ''
make callback_secret "$(random)"
make webhook_secret "whsec_$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')"
make metrics_token "$(random)"
make api_tokens "$(random),ro:$(cat secrets/metrics_token.txt)"
make postgres_password "$(random)"
make database_url "postgresql://tracker:$(cat secrets/postgres_password.txt)@postgres/tracker"
make grafana_password "$(random)"
