//go:build goexperiment.runtimesecret

package guest

import (
	"runtime"
	"runtime/secret"
)

// Erases says whether [Erasing] and [Collect] do anything: whether this program was
// built with GOEXPERIMENT=runtimesecret, as `make build` does.
const Erases = true

// Erasing calls f and erases what f leaves behind: registers and stack at once, what it
// allocated when the collector finds that nothing holds it any more ([Collect]). What
// other goroutines do for f is theirs.
func Erasing(f func()) { secret.Do(f) }

// Collect has the collector run, so that what [Erasing] promised is done when it returns.
func Collect() { runtime.GC() }
