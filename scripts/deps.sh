#!/bin/sh
# Makes sure that what the demo and the tests call is installed: as root through
# apt, otherwise by printing the one line to run.
#
#   scripts/deps.sh          software TPM, age
#   scripts/deps.sh race     C compiler for the race detector
#   scripts/deps.sh interop  Python, which Azure's clients are installed with, and the software TPM
#   scripts/deps.sh e2e      qemu with firmware, and what an image of Debian is made with
#   scripts/deps.sh ci       all of them, make, and tpm2-tools, systemd-measure and a
#                            systemd-stub to compare with
set -eu

missing=
need() { # need COMMAND PACKAGE…
	command -v "$1" >/dev/null 2>&1 && return
	shift
	missing="$missing $*"
}

tpm() {
	need swtpm swtpm
	need swtpm_setup swtpm-tools
	need swtpm_ioctl swtpm-tools
}
race() { need gcc gcc libc6-dev; }
interop() {
	tpm
	need openssl openssl
	need python3 python3
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
}
e2e() {
	tpm
	need qemu-system-x86_64 qemu-system-x86
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || missing="$missing ovmf"
	stub
	need objcopy binutils
	need mmdebstrap mmdebstrap debian-archive-keyring
	need cryptsetup cryptsetup-bin
	need mke2fs e2fsprogs
	need mformat mtools
	need unshare util-linux
	need systemctl systemd
	need make make
}
stub() { ls /usr/lib/systemd/boot/efi/*.efi.stub >/dev/null 2>&1 || missing="$missing systemd-boot-efi"; }

case "${1-}" in
"")
	tpm
	need age age
	[ -x /usr/sbin/cryptsetup ] || missing="$missing cryptsetup-bin"
	;;
race) race ;;
interop) interop ;;
e2e) e2e ;;
ci)
	race
	interop
	e2e
	need tpm2_quote tpm2-tools
	need osslsigncode osslsigncode
	# what unified kernel images are compared with
	[ -x /usr/lib/systemd/systemd-measure ] || missing="$missing systemd"
	;;
*)
	echo "usage: scripts/deps.sh [race|interop|e2e|ci]" >&2
	exit 2
	;;
esac

[ -n "$missing" ] || exit 0
line="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" != 0 ]; then
	echo "Missing on this machine. Run this, then try again:" >&2
	echo "  sudo $line" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "Missing on this machine:$missing (names of the Debian packages)" >&2
	exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# A bare image has no package lists; a stale one has wrong ones.
$line >/dev/null 2>&1 || { apt-get update -qq && $line >/dev/null; }
