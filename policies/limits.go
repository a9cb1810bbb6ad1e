//go:build !race

package policies

import "time"

// Limits of the child. childData is its private writable memory, in bytes:
// RLIMIT_AS would count the address space that Go reserves and never uses.
// maxCompileTime is CPU time.
const (
	childData      = 256 << 20
	maxCompileTime = 200 * time.Millisecond
)
