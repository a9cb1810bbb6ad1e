// Package boot starts whole machines: a Debian image with a root on LUKS2, booted by
// qemu with UEFI firmware and a software TPM, whose key a real broker releases, or not,
// for what was measured. `make e2e-boot` runs it; deploy/README.md says what it shows.
package boot
