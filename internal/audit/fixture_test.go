package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

var update = flag.Bool("update", false, "make the store fixture of the present schema, testdata/store-vN.db.gz, if there is none")

// TestFixtures opens a store of every schema, as a program of its time left it: later
// ones must migrate it, keep every row and go on with its log. A fixture is never made
// again: it is what users have.
func TestFixtures(t *testing.T) {
	schemas, err := filepath.Glob("../store/sqlite/migrations/*.sql")
	if err != nil || len(schemas) == 0 {
		t.Fatal(schemas, err)
	}
	for i := range schemas { // a new one wants a fixture: -update, once
		name := fmt.Sprintf("store-v%d", i+1)
		t.Run(name, func(t *testing.T) { openFixture(t, filepath.Join("testdata", name)) })
	}
}

func openFixture(t *testing.T, name string) {
	file, checkpoint := name+".db.gz", name+".checkpoint"
	if _, err := os.Stat(file); *update && os.IsNotExist(err) {
		makeFixture(t, file, checkpoint)
	}
	src := filepath.Join(t.TempDir(), "backup")
	unzip(t, file, src)
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "data", "openskr.db")}
	b.now.Store(1_790_000_000_000)
	ctx := context.Background()
	if err := sqlite.Restore(ctx, src, b.path); err != nil {
		t.Fatal(err)
	}
	b.open()
	cp, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifyCopy(ctx, b.path, origin, b.vkey, cp); err != nil {
		t.Fatal(err)
	}
	if _, err := b.st.Secret(ctx, "deployment/test"); err != nil {
		t.Error(err)
	}
	row, err := b.st.Row(ctx, "v", keyvault.Keys, "disk", "")
	if err != nil {
		t.Fatal(err)
	}
	if row.Version != "2" || string(row.Policy.Data) != "package release" || string(row.Sealed) != "sealed" || !row.Attributes.Enabled {
		t.Errorf("key %+v", row)
	}
	if p, err := b.log.Policy(ctx, row.Policy.Digest); err != nil || string(p.Data) != "package release" {
		t.Errorf("kept policy %+v, %v", p, err)
	}
	m, err := release.EnrolledMachines{Objects: b.log.Objects()}.Machine(ctx, "m")
	if err != nil || m.Status != release.MachineApproved {
		t.Fatalf("machine %+v, %v", m, err)
	}
	if c := b.append(b.allow(keyOf(row), m)); c.Record.Reason != string(release.ReasonNonceReplayed) {
		t.Errorf("the nonce of then gave %s %s", c.Record.Decision, c.Record.Reason)
	}
	if c := b.append(b.allow(keyOf(row), m)); c.Record.Decision != receipt.Allow {
		t.Errorf("a new release: %s", c.Record.Reason)
	}
	if err := VerifyCopy(ctx, b.path, origin, b.vkey, cp); err != nil {
		t.Errorf("grown: %v", err)
	}
}

func makeFixture(t *testing.T, file, checkpoint string) {
	b := newBench(t)
	b.key("disk", "1", 1)
	k, m := b.key("disk", "2", 2), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m))
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "192.0.2.0/24", "c")
	if err := b.log.flush(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "backup")
	if err := b.st.Backup(context.Background(), db); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{file: z.Bytes(), checkpoint: []byte(b.log.Checkpoint())} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func unzip(t *testing.T, from, to string) {
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
