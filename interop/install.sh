#!/bin/sh
# Installs clients of Azure, in the versions pinned here, into a cache outside of the
# checkout, and prints where. A cache with the same versions is used again.
#
#   interop/install.sh js       @azure/… of npm: prints the folder of node_modules
#   interop/install.sh python   Azure's SDK: prints the virtual environment
#   interop/install.sh cli      the Azure CLI: prints the virtual environment
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${OPENSKR_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openskr-interop}

case "${1-}" in
js)
	lock=$here/js/package-lock.json
	command -v npm >/dev/null 2>&1 || { echo "npm is missing: run scripts/deps.sh interop" >&2; exit 1; }
	;;
python | cli)
	lock=$here/$1/requirements.txt
	# Debian's own, when there is one: another python3 on the path may lack venv.
	python=/usr/bin/python3
	[ -x "$python" ] || python=python3
	"$python" -c 'import ensurepip, venv' 2>/dev/null || { echo "python3 with venv is missing: run scripts/deps.sh interop" >&2; exit 1; }
	;;
*)
	echo "usage: interop/install.sh js|python|cli" >&2
	exit 2
	;;
esac

dir=$cache/$1-$(sha256sum "$lock" | cut -c1-16)
if [ ! -e "$dir/complete" ]; then
	echo "installing the $1 clients into $dir" >&2
	rm -rf "$dir"
	mkdir -p "$dir"
	case "$1" in
	js)
		cp "$here/js/package.json" "$lock" "$dir"
		(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
		;;
	*)
		"$python" -m venv "$dir"
		"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-virtualenv --only-binary :all: -r "$lock" >&2
		;;
	esac
	touch "$dir/complete"
fi
echo "$dir"
