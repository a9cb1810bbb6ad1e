//go:build race

package policies

import "time"

// The race detector's shadow memory fits into no limit, and everything takes it
// several times as long.
const (
	childData      = 1 << 60
	maxCompileTime = 2 * time.Second
)
