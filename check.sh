#!/bin/bash
# Everything that must hold, from a fresh clone: builds with gcc and with clang, unit tests, the
# simulator, the explorer, models, seeded mistakes, real processes, sanitizers (by clang), the release
# build, instructions of the hot paths, lint. Ends with one line "N passed, N failed, N skipped";
# exits non-zero if anything failed. A stage that fails does not stop the others. Logs and results
# lie in build-check/.
#
#   ./check.sh            all stages
#   ./check.sh lint ...   only the stages named (builds they need must be there already)
#
# CYCLES, SCHEDULES, REPLIES and JOBS in the environment change how much is run.
set -u
cd "$(dirname "$0")" || exit 1

out=$PWD/build-check
cycles=${CYCLES:-200}
replies=${REPLIES:-1000}
schedules=${SCHEDULES:-2000000}
jobs=${JOBS:-2}
waiting_jobs=$((3 * jobs)) # of what waits for processes and time-outs more than it computes
only=" $* "

mkdir -p "$out/logs" "$out/tmp" || exit 1
rm -f "$out"/logs/*
# Nothing here writes to the home directory, which may be read-only.
export PYTHONDONTWRITEBYTECODE=1 CCACHE_DISABLE=1 XDG_CACHE_HOME=$out/tmp XDG_DATA_HOME=$out/tmp
export TMPDIR=$out/tmp TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99
export TSAN_OPTIONS=halt_on_error=1:exitcode=99:second_deadlock_stack=1

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing
    missing=$(grep -v '^#' tests/lint/packages.txt | while read -r package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            echo "$package"
    done)
    [ -z "$missing" ] && return 0
    as_root apt-get update -q || return 1
    # shellcheck disable=SC2086
    as_root apt-get install -q -y --no-install-recommends $missing
}

# stage NAME COMMAND...: runs it with its output in a log of its own, notes time and result.
stage() {
    local name=$1 began=$EPOCHREALTIME status
    shift
    if [ "$only" != "  " ] && [[ "$only" != *" $name "* ]]; then return 0; fi
    "$@" >"$out/logs/$name.log" 2>&1 </dev/null
    status=$?
    echo "$status" >"$out/logs/$name.status"
    /usr/bin/python3 tests/lib/count.py stage "$out/logs" "$name" "$began" "$EPOCHREALTIME"
    return $status
}

# build NAME COMPILER OPTIONS...: configures once, then brings the build up to date.
build() {
    local name=$1 compiler=$2
    shift 2
    if [ ! -f "$out/$name/build.ninja" ]; then
        rm -rf "${out:?}/$name"
        CC=$compiler meson setup "$out/$name" --werror "$@" || return 1
    fi
    ninja -C "$out/$name"
}

# unit NAME [TESTS...]: runs the unit tests of a build; the counts come from meson's own log.
unit() {
    local name=$1
    shift
    rm -f "$out/$name/meson-logs/testlog.json"
    meson test -C "$out/$name" --no-rebuild --suite unit --num-processes "$waiting_jobs" \
        --print-errorlogs "$@"
    local status=$?
    cp "$out/$name/meson-logs/testlog.json" "$out/logs/unit-$name.json" || return 1
    return $status
}

# pytests NAME BUILD SLOWNESS ARGUMENTS...
pytests() {
    local name=$1 build=$2 slow=$3
    shift 3
    ASSENT_BUILD=$out/$build ASSENT_SLOW=$slow \
        /usr/bin/python3 -m pytest -p no:cacheprovider -q -ra --durations=8 \
        --basetemp="$out/tmp/$name" --junitxml="$out/logs/$name.xml" "$@"
}

# Two halves side by side: one schedule after the other is one core's work. First come the seeds
# that once found something, last policy by fault.
simulate() {
    local half=$((schedules / 2)) sim=$out/gcc/tests/sim/assent-sim first
    "$sim" --seeds tests/sim/seeds.txt --schedules "$half" --seed 1 --probes &
    first=$!
    "$sim" --schedules "$half" --seed $((half + 1)) --probes
    local status=$?
    wait $first || status=1
    "$sim" --table --schedules 5000 || status=1
    return $status
}

# The same seeds give the same events, whatever the compiler, with and without sanitizers.
replay() {
    local name hash first=
    for name in gcc asan; do
        hash=$("$out/$name/tests/sim/assent-sim" --schedules 2000 --seed 77) || return 1
        echo "$name: $hash"
        [ "${first:=$hash}" = "$hash" ] || return 1
    done
}

# Models written from the specification, by spin; the larger bounds: run.py --large.
model() {
    /usr/bin/python3 tests/model/run.py --jobs "$jobs" --junit "$out/logs/model.xml"
}

# Every eighth seeded mistake; all of them: run.py alone.
mutants() {
    /usr/bin/python3 tests/mutants/run.py --build "$out/mutants" --jobs "$jobs" --step 8 \
        --junit "$out/logs/mutants.xml"
}

# Instructions of the hot paths against the recorded ones.
paths() {
    ninja -C "$out/release" tests/bench/paths && ASSENT_BUILD=$out/release tests/bench/paths.py
}

if ! install_packages >"$out/logs/packages.log" 2>&1 </dev/null; then
    tail -n 20 "$out/logs/packages.log"
    echo "cannot install packages: see $out/logs/packages.log"
fi

stage build-gcc build gcc gcc
stage build-asan build asan clang -Db_sanitize=address,undefined -Db_lundef=false
stage build-tsan build tsan clang -Db_sanitize=thread -Db_lundef=false
stage build-release build release gcc -Dbuildtype=release -Db_lto=true -Dcrash_points=false -Dtests=false

stage unit-gcc unit gcc
stage unit-asan unit asan
stage unit-tsan unit tsan
stage simulator simulate
stage explorer "$out/gcc/tests/explore/assent-explore" --all
stage replay replay
stage model model
stage mutants mutants
export ASSENT_CYCLES=$cycles ASSENT_REPLIES=$replies
stage threads-tsan pytests threads-tsan tsan 5 tests/integration/test_threads.py
stage integration pytests integration gcc 2 -n "$waiting_jobs" tests/integration
export ASSENT_CYCLES=$((cycles / 2)) ASSENT_REPLIES=$((replies / 5))
# Left out: what AddressSanitizer makes impossible, and no other stage leaves out (marker "plain").
# The stage before had as many event loops as the cores make usual, this one has four.
# What only measures is not measured here.
export ASSENT_THREADS=4
stage integration-asan pytests integration-asan asan 4 -n "$waiting_jobs" -m "not plain" \
    --ignore tests/integration/test_scaling.py --ignore tests/integration/test_bench.py \
    tests/integration
unset ASSENT_THREADS
stage release-smoke pytests release-smoke release 1 tests/integration/test_smoke.py
stage paths paths
stage lint pytests lint gcc 1 -n "$jobs" tests/lint

rm -rf "${out:?}/tmp"
exec /usr/bin/python3 tests/lib/count.py total "$out/logs"
