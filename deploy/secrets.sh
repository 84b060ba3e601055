#!/bin/sh
# Makes deploy/secrets, the files that deploy/compose.yaml mounts: random passwords, and the Integrator's, which it asks for
# (or takes from $INTEGRATOR_PASSWORD). What is there already stays as it is.
set -eu
umask 077
cd "$(dirname "$0")"
# The folder is closed to others; the files are not, for the container reads them as another user.
mkdir -p secrets
chmod 0700 secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() {
    [ -s "secrets/$1" ] || { cat >"secrets/$1.new" && mv "secrets/$1.new" "secrets/$1"; }
    chmod 0644 "secrets/$1"
}
if [ ! -s secrets/integrator_password ]; then
    if [ -z "${INTEGRATOR_PASSWORD:-}" ]; then
        [ -t 0 ] || { echo "set INTEGRATOR_PASSWORD, or run this on a terminal" >&2; exit 2; }
        printf 'Password of the Integrator: ' >&2
        trap 'stty echo' EXIT
        trap 'exit 130' INT TERM HUP # without these, dash does not get to the one above
        stty -echo
        IFS= read -r INTEGRATOR_PASSWORD
        stty echo
        trap - EXIT INT TERM HUP
        echo >&2
    fi
    [ -n "$INTEGRATOR_PASSWORD" ] || { echo "the password is empty" >&2; exit 2; }
    printf '%s\n' "$INTEGRATOR_PASSWORD" | keep integrator_password
fi
random | keep postgres_password
printf 'postgresql://archiver:%s@postgres:5432/archiver\n' "$(cat secrets/postgres_password)" | keep database_url
random | keep web_tokens
random | keep grafana_reader
random | keep grafana_admin
echo "deploy/secrets is ready; the token of the web page is in deploy/secrets/web_tokens"
