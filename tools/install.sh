#!/bin/sh
# Installs the locked requirements and this project into a virtual environment.
#
#   tools/install.sh runtime|dev|bench|threads|threads-dev|checkov [VENV] [PYTHON]
#
# Those with "threads" are without nameko and eventlet; give them an environment of their own. "checkov" is a tool of
# `make deploy-check` alone, without the project; give it one, too.
# Quick when nothing changed: a stamp in the environment holds the hash of what was installed. The stamp is
# written last and a marker first, so an environment whose installation was interrupted is made anew. Nothing
# is written to stdout, so that `make run ARGS="--json"` prints nothing but its JSON.
set -eu
exec >&2

kind=${1:?runtime, dev, bench, threads, threads-dev or checkov}
venv=${2:-.venv}
wanted=${3:-${PYTHON:-}}
cd "$(dirname "$0")/.."
here=$(pwd -P)
lock=requirements/$kind.txt

say() { printf '%s\n' "$*"; }

suits() { # a Python that runs (version managers leave dead shims on the PATH) and is new enough
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

fingerprint() { # of everything that decides what is installed; the folder too, since environments cannot move
    project=pyproject.toml
    [ "$1" != checkov ] || project= # which is not installed there
    { printf '%s\n' "$here"; cat "requirements/$1.txt" $project; } | sha256sum | cut -d' ' -f1
}

stamped() { # whether the environment holds $1 as it is locked now
    [ -x "$venv/bin/python" ] && [ ! -e "$venv/.installing" ] && [ -f "$venv/.installed-$1" ] \
        && [ "$(cat "$venv/.installed-$1")" = "$(fingerprint "$1")" ]
}

if stamped "$kind"; then
    exit 0
fi

python=
for candidate in "$wanted" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && suits "$candidate"; then
        python=$candidate
        break
    fi
    if [ -n "$candidate" ] && [ "$candidate" = "$wanted" ] && [ "$wanted" != python3 ]; then
        say "xinhuo: $wanted 不能运行，或低于 Python 3.11。/ $wanted does not run, or is older than Python 3.11."
        exit 2
    fi
done
if [ -z "$python" ]; then
    say "xinhuo: 找不到 Python 3.11 或更新的版本。请先安装，例如：apt-get install python3 python3-venv"
    say "xinhuo: no Python 3.11 or newer was found. Install one first, for example: apt-get install python3 python3-venv"
    say "        然后 / then:  make install PYTHON=/path/to/python3.11"
    exit 2
fi

has_venv() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

if ! has_venv; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "xinhuo: 正在安装 $package（缺少 venv 模块）/ installing $package (the venv module is missing)"
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
            || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv \
            || true
    fi
    if ! has_venv; then
        say "xinhuo: $python 缺少 venv/ensurepip 模块。请以 root 身份运行：apt-get install $package"
        say "xinhuo: $python lacks its venv/ensurepip module. Run as root: apt-get install $package"
        say "        然后再运行 / then run again:  make install"
        exit 3
    fi
fi

# One installation at a time in one environment; the loser finds the work done.
mkdir -p "$venv"
exec 9>"$venv.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if stamped "$kind"; then
    exit 0
fi

say "xinhuo: 正在安装到 $venv，首次约需一分钟 / installing into $venv, about a minute the first time"
if [ -e "$venv/.installing" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv"
fi
: > "$venv/.installing"
rm -f "$venv"/.installed-*

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
# --only-binary: a source archive would fetch what builds it, unlocked.
pip install -qq --require-hashes --no-deps --only-binary :all: -r "$lock"
if [ "$kind" != checkov ]; then
    pip install -qq --no-deps --no-build-isolation --no-index -e .
fi

fingerprint "$kind" > "$venv/.installed-$kind"
case $kind in # what is among it
    bench) among="dev runtime" ;;
    dev) among=runtime ;;
    threads-dev) among=threads ;;
    *) among= ;;
esac
for each in $among; do
    fingerprint "$each" > "$venv/.installed-$each"
done
rm -f "$venv/.installing"
say "xinhuo: 安装完成 / installed"
