#!/bin/bash
# curl | jq | psql, as far as a shell can take it: page 1 of each run tells how many pages there are, curl fetches all
# of them over several connections, two processes of jq turn them into CSV that psql copies. No state: each load asks
# for everything, and replaces what was there.
#
#     pipeline.sh DSN JSON-OF-THE-SERVER CONNECTIONS
set -euo pipefail
export dsn=$1
said=$2 connections=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
url=$(jq -r .base_url <<<"$said")
token=$(curl -sf "$url/api/nifi/login" --data-urlencode "username=$(jq -r .username <<<"$said")" \
    --data-urlencode "password=$(jq -r .password <<<"$said")")

# Reads `name query` lines, and asks for all of them.
fetch() {
    while read -r name query; do
        printf 'url = "%s/logs?%s"\noutput = "%s"\n' "$url" "$query" "$name"
    done >asked
    curl -sS --no-progress-meter --parallel --parallel-immediate --parallel-max "$connections" -H "Authorization: Bearer $token" -K asked
}

psql -q "$dsn" -c "TRUNCATE shell.line"
jq -r '.flows[] | "\(.project_id) \(.id)"' <<<"$said" | while read -r project flow; do
    base="projectid=$project&flowId=$flow&limit=100"
    for ((page = 1; ; page++)); do
        fetch <<<"runs_$page $base&log_type=1&page=$page"
        ((page * 100 < $(jq .count "runs_$page"))) || break
    done
    jq -r '.results[].filename_uuid' runs_* >runs
    while read -r run; do
        echo "first_$run $base&log_type=3&original_filename_uuid=$run&page=1"
    done <runs | fetch
    jq -r '"\(.count) \(.results[0].original_filename_uuid)"' first_* | while read -r count run; do
        for ((page = 2; page <= (count + 99) / 100; page++)); do
            echo "page_${run}_$page $base&log_type=3&original_filename_uuid=$run&page=$page"
        done
    done | fetch
    find . -name 'first_*' -o -name 'page_*' | xargs -P 2 -n 200 sh -c '
        jq -r ".results[] | [.id, .created, .finished, .process_group_id, .process_group_name,
            .parent_process_group_id, .original_filename_uuid, .filename_uuid, .state, .status, .fragment_count,
            .process_count, .success_count, .fail_count, .in_bound, .schedule, .is_triggered, .triggered_by, .log_type,
            .flow_order, .is_send_S3, .row_num, (del(.id, .created, .finished, .process_group_id, .process_group_name,
            .parent_process_group_id, .original_filename_uuid, .filename_uuid, .state, .status, .fragment_count,
            .process_count, .success_count, .fail_count, .in_bound, .schedule, .is_triggered, .triggered_by, .log_type,
            .flow_order, .is_send_S3, .row_num) | tojson)] | @csv" "$@" |
            psql -q "$dsn" -c "COPY shell.line FROM STDIN (FORMAT csv)"' sh
    rm -f runs* first_* page_*
done
