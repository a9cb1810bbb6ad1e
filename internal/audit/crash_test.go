package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Environment of the child process of TestKill.
const (
	envStore = "OPENSKR_TEST_STORE" // path of the store
	envFault = "OPENSKR_TEST_FAULT" // "step:n": kill -9 itself there, the n-th time
	envKills = "OPENSKR_TEST_KILLS" // how often TestKill kills
)

var steps = []string{"taken", "applied", "signed", "committed"}

// TestKill kills a process that appends with 16 in flight, at random moments and
// at every named step, and then checks what is left (I1, I5).
func TestKill(t *testing.T) {
	kills := 30
	if n, err := strconv.Atoi(os.Getenv(envKills)); err == nil {
		kills = n
	}
	b := newBench(t)
	b.key("disk", "1", 1)
	b.machine("m", release.MachineApproved)
	if err := WriteMark(b.mark(), b.log.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	var acked []*receipt.Receipt
	for i := range kills {
		b.close()
		fault := ""
		if i%2 == 0 {
			fault = fmt.Sprintf("%s:%d", steps[i/2%len(steps)], 1+r.IntN(12))
		}
		got := child(t, b.path, fault, 1+r.IntN(60))
		acked = append(acked, got...)
		b.open(b.marking) // killed between commit and mark, too: never behind its mark
		if err := b.check(acked); err != nil {
			t.Fatalf("kill %d (%s): %v", i, fault, err)
		}
	}
	if len(acked) < kills {
		t.Errorf("only %d appends were acknowledged in %d runs: the test tests nothing", len(acked), kills)
	}
	t.Logf("%d kills, %d acknowledged, %d entries", kills, len(acked), b.log.Size())

	lost := *acked[0]
	lost.Index = b.log.Size()
	other := *acked[0]
	other.Index++
	for _, seeded := range []*receipt.Receipt{&lost, &other} {
		if b.check([]*receipt.Receipt{seeded}) == nil {
			t.Error("the check does not see a violation")
		}
	}
	b.edit(`INSERT INTO nonces (hash, expires) VALUES (x'00', 1)`)
	if b.check(nil) == nil {
		t.Error("the check does not see a nonce without a record")
	}
}

// child runs the store in another process until it dies, and gives what it
// acknowledged. Without a fault it is killed after so many lines.
func child(t *testing.T, path, fault string, lines int) []*receipt.Receipt {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
	cmd.Env = append(os.Environ(), envStore+"="+path, envFault+"="+fault)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []*receipt.Receipt
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var rc receipt.Receipt
		if json.Unmarshal(sc.Bytes(), &rc) != nil || rc.Checkpoint == "" {
			continue // a line cut off, or of the test framework
		}
		acked = append(acked, &rc)
		if fault == "" && len(acked) == lines {
			_ = cmd.Process.Kill()
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("child ended by itself: %v\n%s", err, stderr.Bytes())
	}
	return acked
}

// TestKillChild is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	path := os.Getenv(envStore)
	if path == "" {
		t.Skip("run by TestKill")
	}
	step, nth, _ := strings.Cut(os.Getenv(envFault), ":")
	left, _ := strconv.Atoi(nth)
	b := &bench{t: t, path: path}
	b.now.Store(1_790_000_100_000)
	b.nth.Store(int64(os.Getpid()) << 20) // nonces of its own
	b.open(b.marking, func(c *Config) {
		c.MaxBatch = 8
		c.Fault = func(s string) {
			if s == step {
				if left--; left <= 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
			}
		}
	})
	row, err := b.st.Row(context.Background(), "v", keyvault.Keys, "disk", "1")
	if err != nil {
		t.Fatal(err)
	}
	k := keyOf(row)
	m, err := release.EnrolledMachines{Objects: b.log.Objects()}.Machine(context.Background(), "m")
	if err != nil {
		t.Fatal(err)
	}
	var out sync.Mutex
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := 0; ; i++ {
				c, err := b.childStep(k, m, g, i)
				if err != nil {
					t.Error(err)
					return
				}
				line, _ := json.Marshal(c.Receipt)
				out.Lock()
				_, _ = os.Stdout.Write(append(line, '\n'))
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

// childStep is mostly a release, now and then a new key.
func (b *bench) childStep(k *release.Key, m *release.Machine, g, i int) (*release.Committed, error) {
	if i%5 != 4 {
		return b.log.Append(context.Background(), b.allow(k, m))
	}
	r := keyRow(fmt.Sprintf("%d-%d-%d", os.Getpid(), g, i), "1", 1)
	return b.log.Change(context.Background(), &release.Record{Operation: "keys/create", ObjectID: r.ObjectID}, func(tx Tx, index int64) error {
		r.CreatedIndex = index
		return tx.Insert(r)
	})
}

func keyOf(r *keyvault.Row) *release.Key {
	return &release.Key{
		Collection: keyvault.Keys, Ref: release.KeyRef{Vault: r.Vault, Name: r.Name, Version: r.Version}, KID: r.Name, ObjectID: r.ObjectID,
		Generation: r.Generation, Attributes: r.Attributes, Policy: r.Policy,
	}
}

// check says what is wrong after a crash: an acknowledged entry that is not in the
// log, a tree that does not verify, a nonce, key or input without its record, or a
// record without them.
func (b *bench) check(acked []*receipt.Receipt) error {
	leaves := b.scratch()
	for _, rc := range acked {
		if _, err := rc.Verify(origin, b.vkey); err != nil {
			return err
		}
		if rc.Index >= int64(len(leaves)) || !bytes.Equal(leaves[rc.Index], rc.Leaf) {
			return fmt.Errorf("acknowledged entry %d is not in the log", rc.Index)
		}
	}
	releases, keys := 0, 0
	for i, leaf := range leaves {
		rec, err := receipt.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		switch {
		case rec.Kind == receipt.KindRelease:
			releases++
			spent, err := b.st.NonceSpent(context.Background(), rec.Nonce)
			if err != nil || !spent {
				return fmt.Errorf("entry %d: its nonce can be used again (%w)", i, err)
			}
		case rec.Operation == "keys/create":
			keys++
		}
	}
	rows := func(table string) (n int) {
		if err := b.query(`SELECT COUNT(*) FROM ` + table).Scan(&n); err != nil {
			b.t.Fatal(err)
		}
		return n
	}
	if n := rows("nonces"); n != releases {
		return fmt.Errorf("%d nonces, %d releases", n, releases)
	}
	if n := rows("decisions"); n != releases {
		return fmt.Errorf("%d inputs, %d releases", n, releases)
	}
	if n := rows("keys"); n != keys {
		return fmt.Errorf("%d keys, %d records of their making", n, keys)
	}
	return nil
}
