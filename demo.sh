#!/bin/bash
# Money moves between two participants, on this machine alone: a commit, a refusal, a kill -9 of the
# coordinator between its decision and the delivery of it, the recovery; then the same by 3pc.
# Installs what the build needs, builds in build-demo/, leaves nothing running and no data behind.
#
#   ./demo.sh               the participants keep the accounts themselves
#   ./demo.sh --databases   Alice's bank is a real PostgreSQL, Bob's a real MariaDB, each started for
#                           the demo in a temporary directory
set -eu
cd "$(dirname "$0")"

databases=
case "$*" in
"") ;;
--databases) databases=yes ;;
*)
    echo "usage: ./demo.sh [--databases]"
    exit 2
    ;;
esac

build=$PWD/build-demo
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive CCACHE_DISABLE=1
began=$SECONDS

step() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The parts of the list that this needs.
last=${databases:+check}
missing=$(sed -n "/^# build$/,/^# ${last:-databases}$/p" tests/lint/packages.txt | grep -v '^#' |
    while read -r package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            echo "$package"
    done)
mkdir -p "$build"
log=$build/demo-build.log
: >"$log"
run_logged() {
    "$@" >>"$log" 2>&1 </dev/null || {
        tail -n 30 "$log"
        echo "failed: $* (all of it: $log)"
        exit 1
    }
}
step "Build"
if [ -n "$missing" ]; then
    note "apt installs: $(echo "$missing" | tr '\n' ' ')"
    run_logged as_root apt-get update -q
    # shellcheck disable=SC2086
    run_logged as_root apt-get install -q -y --no-install-recommends $missing
fi
# Crash points are in: the demo kills the coordinator at an exact place.
[ -f "$build/build.ninja" ] ||
    run_logged meson setup "$build" --buildtype=release -Dtests=false -Dcrash_points=true
run_logged ninja -C "$build"
note "done in $((SECONDS - began)) s"

# Each of the two starts its server, runs what follows, and ends its server when that ends.
if [ -n "$databases" ] && [ -z "${ASSENT_TEST_MARIADB-}" ]; then
    exec tests/lib/postgres.py tests/lib/mariadb.py "$PWD/demo.sh" --databases
fi

data=$(mktemp -d)
declare -A pids=()
finish() {
    local status=$?
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$data"
    [ $status = 0 ] || echo "demo.sh failed with $status"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

listen=127.0.0.1:0
admin=127.0.0.1:0

# start NAME COMMAND...: in the background, with its log in a file of its own.
start() {
    local name=$1
    shift
    "$@" >/dev/null 2>>"$data/$name.log" </dev/null &
    pids[$name]=$!
    disown
}

# within SECONDS COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || { echo "not in time: $*"; exit 1; }
        sleep 0.05
    done
}

started() { [ "$(grep -c 'event=started' "$data/$1.log")" -ge "$2" ]; }
gone() { ! kill -0 "${pids[$1]}" 2>/dev/null; }
field() { grep 'event=started' "$data/$1.log" | tail -n 1 | grep -o "\b$2=[^ ]*" | cut -d= -f2; }
ctl() { "$build/coordinator/ctl/assentctl" -H "$listen" "$@"; }
show() { sed 's/^/   /'; }

# --unsafe-storage: the directory is a temporary one, which may be in memory.
lives=0
coordinator() {
    lives=$((lives + 1))
    start coordinator "$build/coordinator/assentd" --data-dir "$data/coordinator" \
        --unsafe-storage --listen "$listen" --admin "$admin" "$@"
    within 20 started coordinator $lives
    listen=$(field coordinator listen)
    admin=$(field coordinator admin)
}

agent() {
    start "$1" "$build/participant/agent/assent-agent" --name "$1" --data-dir "$data/$1" \
        --unsafe-storage --coordinator "$listen" --listen 127.0.0.1:0 --resource "$2" \
        --in-doubt-warn 300ms
    within 20 started "$1" 1
}

connected() { [ "$(ctl -o json participants list | grep -c '"state": *"up"')" -ge "$1" ]; }

# What differs between the two kinds of bank: resources, work, and how to look at a balance.
if [ -z "$databases" ]; then
    resource_a=kv
    resource_b=kv
    put() { echo "put $1 $2"; }
    debit() { echo "add alice -$1 min 0"; }
    credit() { echo "add bob $1"; }
    balance() { ctl kv get --participant "$1" "$2"; }
else
    resource_a="postgres:$ASSENT_TEST_POSTGRES"
    resource_b="mariadb:$ASSENT_TEST_MARIADB"
    parameter() { tr , '\n' <<<"$ASSENT_TEST_MARIADB" | sed -n "s/^$1=//p"; }
    sql_a() { psql -X -q -A -t -c "$1" "$ASSENT_TEST_POSTGRES"; }
    sql_b() {
        mariadb --no-defaults --batch --skip-column-names --socket="$(parameter socket)" \
            --user="$(parameter user)" -e "$1" "$(parameter database)"
    }
    put() { echo "INSERT INTO account VALUES ('$1', $2)"; }
    debit() { echo "UPDATE account SET balance = balance - $1 WHERE name = 'alice'"; }
    credit() { echo "UPDATE account SET balance = balance + $1 WHERE name = 'bob'"; }
    balance() { "sql_${1#bank-}" "SELECT balance FROM account WHERE name = '$2'"; }
    account="CREATE TABLE account (name VARCHAR(20) PRIMARY KEY, balance BIGINT CHECK (balance >= 0))"
    sql_a "$account"
    sql_b "$account"
fi

balances() {
    local alice bob
    alice=$(balance bank-a alice)
    bob=$(balance bank-b bob)
    note "alice at bank-a: $alice    bob at bank-b: $bob    together: $((alice + bob))"
    [ $((alice + bob)) = 150 ] || { echo "money was made or lost"; exit 1; }
}

# transfer AMOUNT OPTIONS...: alice pays bob, in one message; prints what assentctl says.
transfer() {
    local from to amount=$1
    shift
    from="bank-a=$(debit "$amount")"
    to="bank-b=$(credit "$amount")"
    note "\$ assentctl tx run${*:+ $*} --branch \"$from\" --branch \"$to\""
    ctl tx run "$@" --branch "$from" --branch "$to" >"$data/answer" 2>"$data/message" ||
        answered=$?
    show <"$data/answer"
    show <"$data/message"
}

step "A coordinator and two participants, each with its own data"
coordinator
agent bank-a "$resource_a"
agent bank-b "$resource_b"
within 20 connected 2
note "assentd at $listen (pid ${pids[coordinator]}), bank-a (pid ${pids[bank-a]})," \
    "bank-b (pid ${pids[bank-b]})"
ctl participants list | show

step "Accounts: alice has 100 at bank-a, bob has 50 at bank-b"
ctl tx run --wait --branch "bank-a=$(put alice 100)" --branch "bank-b=$(put bob 50)" | show
balances

step "Alice pays Bob 30: both participants vote yes, the coordinator commits (2pc)"
answered=0
transfer 30 --wait
[ $answered = 0 ]
ctl tx show "$(cut -d' ' -f1 "$data/answer")" | show
balances

step "Alice pays Bob 500: bank-a votes no, nothing happens anywhere"
answered=0
transfer 500
[ $answered = 7 ]
balances

step "kill -9 of the coordinator after its decision is on disk, before anybody is told"
kill -9 "${pids[coordinator]}"
within 20 gone coordinator
coordinator --crash-at coord_after_log_commit
within 20 connected 2
answered=0
transfer 20 --key rent-november
within 20 gone coordinator
[ $answered != 0 ] && [ $answered != 7 ]
note "the coordinator (pid ${pids[coordinator]}) is dead; assentctl says: not known (exit $answered)"
note "the decision, in the log of the dead coordinator:"
ctl log dump --data-dir "$data/coordinator" | awk 'NR == 1 || $3 == "commit"' | show
note "both branches are in doubt: they have voted yes, hold their locks, and wait:"
doubtful() { grep -q 'event=in_doubt' "$data/bank-a.log" && grep -q 'event=in_doubt' "$data/bank-b.log"; }
within 20 doubtful
for bank in bank-a bank-b; do
    grep 'event=in_doubt' "$data/$bank.log" | tail -n 1 | sed "s/^/   $bank: /"
done

step "The coordinator starts again, reads its log, and tells them"
recovery=$(date +%s%N)
coordinator
ctl tx wait --key rent-november >"$data/answer"
note "decided and obeyed everywhere $((($(date +%s%N) - recovery) / 1000000)) ms after the start"
ctl tx show --key rent-november | show
balances

step "The caller asks again with the same key: the same transaction, no second payment"
answered=0
transfer 20 --key rent-november
[ $answered = 0 ]
balances

step "Alice pays Bob 10 by 3pc: a majority could finish it without the coordinator"
within 20 connected 2
answered=0
transfer 10 --wait --protocol 3pc
[ $answered = 0 ]
ctl tx show "$(cut -d' ' -f1 "$data/answer")" | show
balances

step "Stop"
for name in coordinator bank-a bank-b; do
    kill -TERM "${pids[$name]}"
    within 20 gone "$name"
    ctl log verify --data-dir "$data/$name" | head -n 1 | sed "s/^/   $name: /"
done
note "nothing is left running; $((SECONDS - began)) s in all"
