//go:build !linux

package policies

import (
	"errors"
	"os/exec"
	"time"
)

// confine refuses: without the limits of Linux the compiler does not run.
func confine() error {
	return errors.New("policies: the compiler process needs Linux")
}

func limitCPU(uint64) error { return errors.New("policies: the compiler process needs Linux") }

func cpuTime() time.Duration { return 0 }

func orphan(*exec.Cmd) {}
