//go:build !race

package policies

// childData is the private writable memory of the child, in bytes. RLIMIT_AS
// would count the address space that Go reserves and never uses.
const childData = 256 << 20
