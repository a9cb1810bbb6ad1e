// Package boot opens LUKS2 disks with released keys, in an initrd with nobody present.
//
// The header of a LUKS2 disk is not authenticated: whoever holds the disk may exchange
// it, and has the guest write its secrets with a cipher that is none (security.md §2.5).
// So the header is read once, into memory; its shape is checked before any key is asked
// for; its digest must be one that the broker signed together with the key; and that
// copy, not the disk, is what cryptsetup opens:
//
//	header into memory → shape → release → digest in the key's tag
//	                   → cryptsetup with the same memory → cap
//
// Nothing here formats what it was asked to open, asks twice with another key, or gives
// a shell.
package boot

import (
	"context"
	"fmt"
	"strings"

	agent "github.com/openskr/openskr/enclave-agent"
)

// HeaderTag is the tag of a disk's key that says which header the disk must have: one to
// three digests, "sha256:" and 64 hex digits, separated by commas.
const HeaderTag = "luks-header"

// keySize is the length of a disk's key in bytes.
const keySize = 32

// Keys releases keys to this machine, as [agent.Agent] does.
type Keys interface {
	DiskKey(ctx context.Context, keyURL, purpose string) (*agent.Released, error)
	Close() error
}

// isVolumeName says what a volume below /dev/mapper may be called here.
func isVolumeName(s string) bool {
	return agent.Consists(s, agent.Alphanumeric+"_.-", 1, 64) && !strings.ContainsAny(s[:1], "_.-")
}

func checkName(name string) error {
	if !isVolumeName(name) {
		return fmt.Errorf("%w: volume name %.80q: want letters, digits, _ . -, at most 64", agent.ErrConfig, name)
	}
	return nil
}

// tampered is an error of a disk that is not what was sealed.
func tampered(format string, args ...any) error {
	return fmt.Errorf("%w: %w", agent.ErrDisk, fmt.Errorf(format, args...))
}
