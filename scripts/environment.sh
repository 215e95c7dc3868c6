# Sourced by scripts/run and scripts/test: the virtual environment, made once and brought up to date when the lists change.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$project/.venv
cd "$project"

# install REQUIREMENTS…: puts what these files list into .venv. At once, and offline, when they have not changed.
install() {
  local file arguments=() is_due=""
  if [ ! -x "$venv/bin/python" ]; then
    local python
    python=$(find_python) || { echo "Python 3.11 or newer is needed (as python3, or name it in PYTHON)." >&2; exit 1; }
    echo "Making .venv with $python" >&2
    "$python" -m venv "$venv"
  fi
  for file in "$@"; do
    arguments+=(--requirement "$file")
    [ "$(sha256sum < "$file")" = "$(cat "$venv/.installed-$file" 2> /dev/null)" ] || is_due=yes
  done
  [ -n "$is_due" ] || return 0
  echo "Installing $* (a minute or two, once)" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "${arguments[@]}"
  for file in "$@"; do sha256sum < "$file" > "$venv/.installed-$file"; done
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}
