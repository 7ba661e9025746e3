#!/bin/sh
# Makes a fresh Debian 12 or 13 machine ready for kpv: system packages, then .venv. Safe to run again at any time;
# when nothing is missing it only looks, and says so.
#
#   sh setup/bootstrap.sh              packages and .venv
#   sh setup/bootstrap.sh --tests      also what only the tests need: a browser, and what drives it
#   sh setup/bootstrap.sh --packages   system packages only (what an administrator runs for someone else)
#   V=1 sh setup/bootstrap.sh          show what apt-get and pip say
#
# Exit: 0 ready, 2 wrong use, 3 the machine lacks something (the message says what to do).
# KPV_PYTHON=/path/to/python3 chooses the Python; it must be 3.11 or later.
# KPV_SETUP_ROOT=/dir looks for the machine's own files below /dir (the tests do).

set -eu
LC_ALL=C
export LC_ALL
umask 022

here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
machine=${KPV_SETUP_ROOT:-}
venv=$root/.venv
stamp=$venv/kpv-setup.stamp
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
extra_source=/etc/apt/sources.list.d/kpv-backports.sources
log=
did_something=

say() {
    printf 'setup: %s\n' "$*"
    did_something=yes
}

# fail MESSAGE [LINE...]: what is wrong, then what to do about it.
fail() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    for line; do printf '    %s\n' "$line" >&2; done
    if [ -n "$log" ] && [ -s "$log" ]; then
        printf 'setup: the last lines of %s:\n' "$log" >&2
        tail -n 15 "$log" | sed 's/^/    | /' >&2
        log=    # kept: the exit trap removes it otherwise
    fi
    exit 3
}

finish() {
    if [ -n "$log" ]; then rm -f "$log"; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run COMMAND...: its words go to the log, and to the terminal with V=1. Returns its exit code.
run() {
    if [ -z "$log" ]; then log=$(mktemp "${TMPDIR:-/tmp}/kpv-setup.XXXXXX.log"); fi
    printf '+ %s\n' "$*" >>"$log"
    code=0
    if [ "${V:-0}" = 1 ]; then
        { "$@" 2>&1 || printf '%s\n' "$?" >"$log.code"; } | tee -a "$log"
        if [ -s "$log.code" ]; then code=$(cat "$log.code"); fi
        rm -f "$log.code"
    else
        "$@" >>"$log" 2>&1 || code=$?
    fi
    return "$code"
}

# --- what is missing ------------------------------------------------------------------------------------------------

at_least() { # at_least FOUND WANTED
    printf '%s\n%s\n' "$2" "$1" | sort -V -C
}

# The first dotted number a command says of itself, empty when it says none: neither the 64 of aarch64-linux-gnu-gcc nor
# what stands in parentheses, which is the packager's.
version_of() {
    { "$1" --version 2>/dev/null || true; } | sed 's/([^)]*)//g' | grep -o '[0-9][0-9]*\.[0-9][0-9.]*' | head -n 1
}

fits() { # fits PYTHON: whether it runs and is 3.11 or later
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The distribution's own Python first: one from a version manager may vanish with that manager's settings.
find_python() {
    if [ -n "${KPV_PYTHON:-}" ]; then
        fits "$KPV_PYTHON" || fail "KPV_PYTHON=$KPV_PYTHON is not a Python 3.11 or later that runs" \
            "unset KPV_PYTHON, or name another"
        printf '%s\n' "$KPV_PYTHON"
        return
    fi
    for candidate in "$machine/usr/bin/python3" python3.13 python3.12 python3.11 python3; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

have() { # have MINIMUM PROOF
    kind=${2%%:*}
    what=${2#*:}
    case $kind in
    command)
        command -v "$what" >/dev/null 2>&1 || return 1
        [ "$1" = - ] || at_least "$(version_of "$what")" "$1"
        ;;
    file)
        old_ifs=$IFS
        IFS=,
        for path in $what; do
            if [ -e "$machine$path" ]; then
                IFS=$old_ifs
                return 0
            fi
        done
        IFS=$old_ifs
        return 1
        ;;
    python)
        [ -n "$python" ] && "$python" -c "import $what" >/dev/null 2>&1
        ;;
    *)
        fail "setup/packages.txt: unknown proof '$2'" "expected command:, file: or python:"
        ;;
    esac
}

# Prints "package suite" of each package that is missing or too old; suite is "-" or e.g. bookworm-backports.
look() {
    while read -r need package minimum proof from _; do
        case $need in
        required) ;;
        debian) [ "$distribution" = debian ] || continue ;;
        test) [ -n "$with_tests" ] || continue ;;
        *) continue ;;
        esac
        if ! have "$minimum" "$proof"; then
            suite=-
            if [ "${from%%=*}" = "$codename" ]; then suite=$codename-${from#*=}; fi
            printf '%s %s\n' "$package" "$suite"
        fi
    done <"$here/packages.txt"
}

names() { # "package suite" lines to one line of package names
    printf '%s\n' "$1" | cut -d ' ' -f 1 | paste -s -d ' ' -
}

detect() {
    distribution=other
    codename=
    described="this system"
    if [ -r "$machine/etc/os-release" ]; then
        # shellcheck disable=SC1091 # a file of the machine
        described=$(. "$machine/etc/os-release" && printf '%s' "${PRETTY_NAME:-$ID}")
        # shellcheck disable=SC1091
        case $(. "$machine/etc/os-release" && printf '%s:%s' "${ID:-}" "${VERSION_CODENAME:-}") in
        debian:bookworm) distribution=debian codename=bookworm ;;
        debian:trixie) distribution=debian codename=trixie ;;
        esac
    fi
}

# --- packages -------------------------------------------------------------------------------------------------------

# How to become root: empty for root itself, "-" when there is no way.
find_sudo() {
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif ! command -v sudo >/dev/null 2>&1; then
        sudo=-
    elif sudo -n true >/dev/null 2>&1; then
        sudo='sudo -n'
    elif [ -t 0 ] && [ -t 2 ] && [ -z "${CI:-}" ]; then
        sudo=sudo # asks for the password on the terminal
    else
        sudo=-
    fi
}

# mirror SUITE: the URI that this machine is configured to take SUITE from; nothing when it is not configured.
# Asked this way it needs neither root nor package lists, which a new machine does not have yet.
mirror() {
    { apt-get update --print-uris 2>/dev/null || true; } |
        sed -n "s|^'\([a-z+]*://.*\)/dists/$1/InRelease'.*|\1|p" | head -n 1
}

# The text of a deb822 source for suite $1, from the mirror that this machine already uses for its main suite.
source_text() {
    uri=$(mirror "$codename")
    [ -n "$uri" ] || fail "suite $1 is needed, and no mirror for suite $codename is configured to derive it from" \
        "asked by: apt-get update --print-uris" \
        "configure a mirror with suites $codename and $1 under /etc/apt/sources.list.d, then run this again"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$1" "$keyring"
}

# Updating waits for a lock by itself only for dpkg's; another apt-get's lock on the lists is waited for here.
update() {
    tries=0
    # shellcheck disable=SC2086 # $sudo is a command and its option
    until run $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 update; do
        tries=$((tries + 1))
        if [ "$tries" -le 60 ] && tail -n 5 "$log" | grep -q 'Could not get lock'; then
            [ "$tries" -gt 1 ] || say "another apt-get holds the package lists: waiting up to 5 minutes"
            sleep 5
            continue
        fi
        return 1
    done
}

# apt_install OPTIONS-AND-PACKAGES...
apt_install() {
    # shellcheck disable=SC2086 # $sudo is a command and its option
    if ! run $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes \
        --no-install-recommends "$@" </dev/null; then
        fail "apt-get install failed for: $*" \
            "a package that cannot be located: its suite is not configured (linux-source-6.12 is in ${codename}-security)" \
            "an interrupted dpkg: run 'dpkg --configure -a'; then run this again"
    fi
}

# install LINES: "package suite" of all that is missing.
install() {
    plain=  # packages of the release itself
    extra=  # packages of the one extra suite
    suite=
    while read -r package from; do
        if [ "$from" = - ]; then plain="$plain $package"; else extra="$extra $package" suite=$from; fi
    done <<LINES
$1
LINES
    text=
    if [ -n "$suite" ] && [ -z "$(mirror "$suite")" ]; then text=$(source_text "$suite"); fi

    find_sudo
    if [ "$sudo" = - ]; then
        tell_administrator
    fi
    if [ -n "$text" ]; then
        # shellcheck disable=SC2086
        printf '%s\n' "$text" | $sudo tee "$machine$extra_source" >/dev/null ||
            fail "cannot write $extra_source" "it would name suite $suite, which has what this release lacks"
        say "added suite $suite ($extra_source)"
    fi
    if ! update; then
        if [ -n "$text" ]; then
            # A source that cannot be fetched would spoil every later update of this machine.
            # shellcheck disable=SC2086
            $sudo rm -f "$machine$extra_source"
            say "removed $extra_source again"
        fi
        fail "apt-get update failed" "expected: the package lists of this machine's mirrors" \
            "look at the network, the proxy and /etc/apt/sources.list.d; then run this again"
    fi
    say "installing $(names "$1")"
    # shellcheck disable=SC2086 # one word a package
    if [ -n "$plain" ]; then apt_install $plain; fi
    # Its own call: -t takes the dependencies from that suite too, which package/suite does not.
    # shellcheck disable=SC2086
    if [ -n "$extra" ]; then apt_install -t "$suite" $extra; fi
}

tell_administrator() {
    install='apt-get install --yes --no-install-recommends'
    {
        printf 'setup: error: packages are missing, and this user is neither root nor allowed to use sudo.\n'
        printf 'Ask an administrator to run:\n\n'
        if [ -n "$text" ]; then
            printf "cat > %s <<'END'\n%s\nEND\n" "$extra_source" "$text"
        fi
        printf 'apt-get update\n'
        if [ -n "$plain" ]; then printf '%s%s\n' "$install" "$plain"; fi
        if [ -n "$extra" ]; then printf '%s -t %s%s\n' "$install" "$suite" "$extra"; fi
        printf '\nwhich is what this does: sudo sh %s/bootstrap.sh --packages%s\nThen run this again.\n' \
            "$here" "${with_tests:+ --tests}"
    } >&2
    exit 3
}

packages() {
    missing=$(look)
    if [ -z "$missing" ]; then return; fi
    if [ "$distribution" != debian ]; then
        fail "$described: packages are known for Debian 12 (bookworm) and 13 (trixie) only" \
            "missing here, by their Debian names: $(names "$missing")" \
            "install what provides them (setup/packages.txt says what is looked for), then run this again"
    fi
    install "$missing"
    python=$(find_python)
    still=$(look)
    [ -z "$still" ] || fail "still missing or too old after apt-get install: $(names "$still")" \
        "setup/packages.txt says what is looked for; something earlier in PATH may hide it" \
        "try: apt-get install --reinstall $(names "$still")"
    say "packages are complete"
}

# --- the Python environment -----------------------------------------------------------------------------------------

# The first line changes with the pins, the second with what makes scripts inside .venv point elsewhere.
stamp_text() {
    cat "$root/pyproject.toml" "$root/requirements.lock" "$here/wheel_data.py" | sha256sum | cut -d ' ' -f 1
    printf '%s %s %s\n' "$root" "$python" "$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")')"
}

pip() {
    if run "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" </dev/null; then return; fi
    if grep -q -E 'NewConnectionError|name resolution|Network is unreachable|ConnectTimeout|ProxyError|SSLError' "$log"; then
        fail "pip cannot reach a package index" "expected: the network, or an index that pip is configured for" \
            "see 'pip config list' and the proxy variables; then run this again"
    fi
    if grep -q 'DO NOT MATCH THE HASHES' "$log"; then
        fail "a downloaded Python package is not the one that requirements.lock pins" \
            "the index or a proxy hands out other files; do not work around it"
    fi
    fail "pip failed" "the command and what it said:"
}

environment() {
    now=$(stamp_text)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && [ -x "$venv/bin/kpv" ]; then return; fi
    fresh=
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        fresh=yes
    elif [ -f "$stamp" ] && [ "$(sed -n 2p "$stamp")" != "$(printf '%s\n' "$now" | sed -n 2p)" ]; then
        fresh=yes # made by another Python, or the checkout has moved
    fi
    rm -f "$stamp"
    if [ -n "$fresh" ]; then
        run "$python" -m venv --clear "$venv" ||
            fail "$python -m venv failed" "expected: a new environment in $venv" "is the disk full, or the folder read-only?"
    fi
    pip install --quiet --require-hashes --requirement "$root/requirements.lock"
    # --no-build-isolation: the build backend is pinned by the lock like everything else.
    pip install --quiet --no-deps --no-build-isolation --editable "$root"
    printf '%s\n' "$now" >"$stamp.new"
    mv "$stamp.new" "$stamp"
    say ".venv is ready ($("$venv/bin/python" --version), requirements.lock)"
}

# What only the tests need, into the same environment; it may be there without.
test_environment() {
    tests_stamp=$venv/kpv-tests.stamp
    now=$(sha256sum <"$here/tests.lock")
    if [ -f "$tests_stamp" ] && [ "$(cat "$tests_stamp")" = "$now" ]; then return; fi
    pip install --quiet --require-hashes --requirement "$here/tests.lock"
    printf '%s\n' "$now" >"$tests_stamp.new"
    mv "$tests_stamp.new" "$tests_stamp"
    say ".venv has what the tests need (setup/tests.lock)"
}

main() {
    only_packages=
    with_tests=
    for argument; do
        case $argument in
        --packages) only_packages=yes ;;
        --tests) with_tests=yes ;;
        -h | --help)
            sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
            return
            ;;
        *)
            printf "setup: error: unknown argument '%s'\n    see: sh %s --help\n" "$argument" "$0" >&2
            exit 2
            ;;
        esac
    done
    # One set-up of a checkout at a time: make -j, or two terminals.
    exec 9<"$here"
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    detect
    python=$(find_python)
    packages
    if [ -z "$only_packages" ]; then
        [ -n "$python" ] || fail "no Python 3.11 or later found" "set KPV_PYTHON to one"
        environment
        if [ -n "$with_tests" ]; then test_environment; fi
    fi
    if [ -z "$did_something" ]; then say "nothing to do"; fi
}

main "$@"
