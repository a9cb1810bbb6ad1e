#!/bin/bash
# dracut module: the volumes whose line in /etc/crypttab names the key socket of
# openskr-agent are opened in the initrd, with keys released to what booted.
# What it needs of the configuration, and of the kernel command line, is in
# deploy/README.md.

# By itself where a machine is configured for it; otherwise when it is asked for.
check() {
	[[ -e "$dracutsysrootdir/etc/openskr/disks.json" ]] || return 255
	require_binaries openskr-agent cryptsetup || return 1
	require_any_binary "$systemdutildir"/systemd-cryptsetup || return 1
}

depends() {
	echo systemd crypt dm
}

# Drivers of what a virtual machine may have, whatever this one has.
installkernel() {
	hostonly='' instmods "=drivers/char/tpm" sev-guest tdx-guest tsm
	hostonly='' instmods virtio_net hv_netvsc ena gve vmxnet3
	hostonly='' instmods virtio_blk virtio_scsi virtio_pci dm_crypt xts "=crypto"
}

install() {
	local file volumes name _ line
	for file in agent.json disks.json; do
		[[ -s "$dracutsysrootdir/etc/openskr/$file" ]] || { dfatal "openskr: /etc/openskr/$file is missing"; return 1; }
		inst_simple "/etc/openskr/$file"
	done

	volumes=$(grep -E '^[^#[:space:]]+[[:space:]]+[^[:space:]]+[[:space:]]+/run/openskr/disk\.sock([[:space:]]|$)' "$dracutsysrootdir/etc/crypttab") ||
		{ dfatal "openskr: no line of /etc/crypttab names the key socket /run/openskr/disk.sock"; return 1; }
	# The module crypt may have copied some of them already.
	while read -r line; do
		read -r name _ <<< "$line"
		grep -qE "^${name}[[:space:]]" "$initdir/etc/crypttab" 2> /dev/null || echo "$line" >> "$initdir/etc/crypttab"
	done <<< "$volumes"

	inst_multiple openskr-agent cryptsetup
	inst_libdir_file 'libgcc_s.so*' # which cryptsetup opens to derive a key from a passphrase
	inst_multiple \
		"$systemdsystemunitdir"/openskr-agent.socket \
		"$systemdsystemunitdir"/openskr-agent.service \
		"$systemdsystemunitdir"/openskr-header@.service \
		"$systemdsystemunitdir"/openskr-cap@.service \
		"$systemdsystemunitdir"/systemd-cryptsetup@.service.d/openskr.conf
	inst_multiple -o "$systemdsystemunitdir"/sys-kernel-config.mount
	$SYSTEMCTL -q --root "$initdir" add-wants sockets.target openskr-agent.socket

	# What goes wrong ends in power-off, never in a shell: the console belongs to the host.
	# The agent gives up after ten minutes, dracut would after three.
	# noresume: no memory from a swap that the host wrote. The rest is for systemd and the
	# kernel, which read it only where "dracut --uefi" makes it the command line.
	mkdir -p "$initdir/etc/cmdline.d"
	echo "rd.shell=0 rd.emergency=poweroff rd.retry=660 noresume nohibernate" \
		"systemd.import_credentials=no systemd.gpt_auto=no efi=noruntime" > "$initdir/etc/cmdline.d/90openskr.conf"

	inst_multiple -o /etc/hosts
	install_network
}

# The agent needs an address and the name of the broker, before the root is there.
# dracut's own modules for networks want D-Bus or start only when the root is on the
# network, so that systemd-networkd goes in by itself, unless another one is there.
install_network() {
	local module
	for module in network-manager connman systemd-networkd network-legacy; do
		dracut_module_included "$module" && return 0
	done
	inst_multiple "$systemdutildir"/systemd-networkd "$systemdsystemunitdir"/systemd-networkd.service \
		"$systemdsystemunitdir"/systemd-networkd.socket /usr/lib/systemd/network/99-default.link ||
		{ dfatal "openskr: no systemd-networkd; install it, or add a dracut module that configures the network"; return 1; }
	if [[ -e "$dracutsysrootdir/etc/openskr/initrd.network" ]]; then
		inst_simple /etc/openskr/initrd.network /etc/systemd/network/50-openskr.network
	else
		inst_simple "$moddir/dhcp.network" /etc/systemd/network/50-openskr.network
	fi
	user systemd-network
	early systemd-networkd.service
	# Names from the DNS server of the lease; without it, those of /etc/hosts.
	if [[ -x "$dracutsysrootdir$systemdutildir/systemd-resolved" ]]; then
		inst_multiple "$systemdutildir"/systemd-resolved "$systemdsystemunitdir"/systemd-resolved.service
		ln -sf /run/systemd/resolve/resolv.conf "$initdir/etc/resolv.conf"
		user systemd-resolve
		early systemd-resolved.service
	fi
}

# Started while devices are still looked for, and not only when the key is needed.
early() {
	$SYSTEMCTL -q --root "$initdir" add-wants sysinit.target "$1"
}

user() {
	local db
	for db in passwd group; do
		grep -q "^$1:" "$initdir/etc/$db" 2> /dev/null || grep "^$1:" "$dracutsysrootdir/etc/$db" >> "$initdir/etc/$db"
	done
}
