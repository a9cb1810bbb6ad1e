//go:build race

package policies

// childData: the race detector's shadow memory does not fit into any limit.
const childData = 1 << 60
