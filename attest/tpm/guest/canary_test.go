package guest

import (
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/openskr/openskr/internal/canary"
)

// Of a hybrid recipient the ML-KEM half is in memory: it is gone when it has opened,
// with what it expanded to, in a build that erases. A process of its own does it and is
// scanned.
func TestCanaryOfTheSeed(t *testing.T) {
	const socket = "OPENSKR_TEST_TPM"
	if at := os.Getenv(socket); at != "" {
		openOnce(t, at)
		return
	}
	s, _ := start(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCanaryOfTheSeed$")
	cmd.Env = append(os.Environ(), socket+"="+s.Socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seed := make([]byte, 64)
	if _, err := io.ReadFull(out, seed); err != nil {
		t.Fatal(err)
	}
	for i := range seed {
		seed[i] = ^seed[i]
	}
	k, err := canary.New(seed)
	if err != nil {
		t.Fatal(err)
	}
	found, err := k.Process(cmd.Process.Pid)
	in.Close()
	if werr := cmd.Wait(); werr != nil || err != nil {
		t.Fatalf("%v, %v", werr, err)
	}
	if !Erases {
		t.Logf("%d traces in this build, which does not erase the heap", len(found))
		return
	}
	for _, f := range found {
		t.Error(f)
	}
}

// openOnce makes a recipient, opens with it, writes its seed with every bit inverted and
// lives until its input ends.
func openOnce(t *testing.T, socket string) {
	g, err := Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.NewRecipient(t.Context(), Hybrid, DefaultSelection())
	if err != nil {
		t.Fatal(err)
	}
	var inverted []byte
	for _, b := range r.seed.Bytes() {
		inverted = append(inverted, ^b)
	}
	sealed := seal(t, r)
	Erasing(func() { _, err = unseal(t.Context(), r, sealed) })
	if err != nil {
		t.Fatal(err)
	}
	Collect()
	if _, err := os.Stdout.Write(inverted); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
