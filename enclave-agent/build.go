package agent

import (
	"runtime/debug"
	"time"
)

// BuildInfo is the version and the time of the commit that this was built from,
// the zero time when unknown.
func BuildInfo() (version string, at time.Time) {
	version = "unknown"
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return version, at
	}
	if bi.Main.Version != "" {
		version = bi.Main.Version
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				at = t
			}
		}
	}
	return version, at
}
