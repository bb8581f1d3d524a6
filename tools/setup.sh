#!/bin/sh
# Makes a virtual environment and installs the project into it.
# usage: tools/setup.sh VENV_FOLDER REQUIREMENT    (for example: tools/setup.sh .venv '.[test]')
set -eu
venv=$1
requirement=$2

say() { printf 'setup: %s\n' "$*" >&2; }

# The first Python from 3.10 on.
python=
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
  if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  say "no Python 3.10 or newer was found; install one and run the command again."
  exit 2
fi

# Debian and Ubuntu keep pip's bootstrap and the C headers in packages of their own.
complete() {
  "$python" -c 'import ensurepip, os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2>/dev/null
}
if ! complete; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing python3-venv and python3-dev with apt-get"
    apt-get update -q && apt-get install -y -q python3-venv python3-dev
  fi
  if ! complete; then
    say "$python lacks venv or its C headers; run 'sudo apt-get install python3-venv python3-dev' and run the command again."
    exit 2
  fi
fi
if ! command -v cc >/dev/null; then
  say "no C compiler 'cc' was found; run 'sudo apt-get install build-essential' and run the command again."
  exit 2
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
say "installing $requirement into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$requirement"
