package policies

import (
	"fmt"
	"io"
	"runtime/metrics"
	"time"

	"github.com/go-json-experiment/json"
)

// maxCompileAlloc is what compiling one policy may allocate in all, in bytes, beside
// maxCompileTime. An ordinary one takes a millisecond; the broker compiles again what
// passed here, and cannot stop it there.
const maxCompileAlloc = 64 << 20

// CompilerMain is the body of the hidden command `openskr policy-compiler`: it
// confines its own process for good (memory, CPU, files, core), reads one task
// from in, writes one answer to out and gives the exit code. It is started by
// Engine.Check and Test and by nobody else.
func CompilerMain(in io.Reader, out io.Writer) int {
	if err := confine(); err != nil {
		return 1
	}
	if err := install(); err != nil {
		return 1
	}
	if err := serve(in, out, limitCPU); err != nil {
		return 1
	}
	return 0
}

// serve does one task. limit bounds the CPU seconds of the rest of the process.
func serve(in io.Reader, out io.Writer, limit func(seconds uint64) error) error {
	body, err := io.ReadAll(io.LimitReader(in, maxTask+1))
	if err != nil {
		return err
	}
	if len(body) > maxTask {
		return fmt.Errorf("task larger than %d bytes", maxTask)
	}
	var t task
	if err := json.Unmarshal(body, &t, json.RejectUnknownMembers(true)); err != nil {
		return err
	}
	seconds := uint64(maxCheckCPU / time.Second)
	if t.Files != nil {
		seconds = uint64(maxTestCPU / time.Second)
	}
	if err := limit(seconds); err != nil {
		return err
	}
	if _, err := io.WriteString(out, ready); err != nil {
		return err
	}
	var a answer
	if t.Files != nil {
		a = runTests(t)
	} else {
		a.Diagnostics = tidy(measured(t))
	}
	reply, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = out.Write(reply)
	return err
}

// measured compiles and refuses what was too dear, although it came to an end.
func measured(t task) []Diagnostic {
	cpu, alloc := cpuTime(), allocated()
	prog, found := compile(t.Source, t.Claims)
	cpu, alloc = cpuTime()-cpu, allocated()-alloc
	if d := dear(cpu, alloc); prog != nil && d != nil {
		found = append(found, *d)
	}
	return found
}

func dear(cpu time.Duration, alloc uint64) *Diagnostic {
	if cpu <= maxCompileTime && alloc <= maxCompileAlloc {
		return nil
	}
	return &Diagnostic{Code: "policy_cost", Message: fmt.Sprintf(
		"compiling took %v of CPU and %d MiB, limits %v and %d MiB: split long rules and avoid nested comprehensions and doubled values",
		cpu.Round(time.Millisecond), alloc>>20, maxCompileTime, maxCompileAlloc>>20)}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
