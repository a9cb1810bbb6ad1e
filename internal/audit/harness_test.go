package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	sqlitedriver "modernc.org/sqlite"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

const origin = "log.example/test"

// zeros makes the log key of tests the same in every process.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func logKey(t testing.TB) (signer note.Signer, vkey string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(zeros{}, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

// bench is a log on a store in a folder, with a clock that tests set.
type bench struct {
	t    testing.TB
	path string
	now  atomic.Int64 // Unix ms
	vkey string
	st   *store.Store
	log  *Log
	nth  atomic.Int64
}

func newBench(t testing.TB, edit ...func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "data", "openskr.db")}
	b.now.Store(1_790_000_000_000)
	b.open(edit...)
	b.genesis()
	return b
}

func (b *bench) config() Config {
	signer, vkey := logKey(b.t)
	b.vkey = vkey
	return Config{
		Store: b.st, Deployment: "dep-1", Origin: origin, Signers: []note.Signer{signer}, VKeys: []string{vkey}, ObjectKey: make([]byte, 32), Binary: "test",
		Now:      func() time.Time { return time.UnixMilli(b.now.Load()) },
		Settings: func() receipt.Digest { return sha256.Sum256([]byte("settings")) }, Wait: 30 * time.Second,
	}
}

func (b *bench) open(edit ...func(*Config)) {
	b.t.Helper()
	if err := b.tryOpen(edit...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) tryOpen(edit ...func(*Config)) (err error) {
	if b.st, err = sqlite.Open(context.Background(), b.path, sqlite.Options{Create: true}); err != nil {
		return err
	}
	cfg := b.config()
	for _, e := range edit {
		e(&cfg)
	}
	if b.log, err = Open(context.Background(), cfg); err != nil {
		return errorsJoinClose(err, b.st)
	}
	st, l := b.st, b.log
	b.t.Cleanup(func() { _ = l.Close(); _ = st.Close() })
	return nil
}

func errorsJoinClose(err error, c io.Closer) error {
	_ = c.Close()
	return err
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.log.Close(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.st.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) genesis() {
	b.t.Helper()
	_, err := b.log.Genesis(context.Background(), &release.Record{}, func(tx Tx, _ int64) error {
		return tx.PutSecret("deployment/test", []byte("sealed"))
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func keyRow(name, version string, seq int64) *keyvault.Row {
	policy := []byte("package release")
	return &keyvault.Row{
		Vault: "v", Collection: keyvault.Keys, Name: name, Version: version, ObjectID: "id-" + name, Seq: seq, Generation: 1, Kty: "oct", Size: 256,
		KeyOps: []string{}, Attributes: release.Attributes{Enabled: true, Exportable: true}, Created: 1, Updated: 1,
		Policy: release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: policy, Digest: sha256.Sum256(policy)},
		Salt:   []byte("salt"), Commitment: []byte("commitment"), Sealed: []byte("sealed"), DEKEpoch: 1,
	}
}

// key makes a key version and gives it as a release finds it.
func (b *bench) key(name, version string, seq int64, edit ...func(*keyvault.Row)) *release.Key {
	b.t.Helper()
	r := keyRow(name, version, seq)
	for _, e := range edit {
		e(r)
	}
	rec := &release.Record{Operation: "keys/create", ObjectID: r.ObjectID, Object: name}
	if _, err := b.log.Change(context.Background(), rec, func(tx Tx, index int64) error {
		r.CreatedIndex = index
		return tx.Insert(r)
	}); err != nil {
		b.t.Fatal(err)
	}
	return &release.Key{
		Collection: keyvault.Keys, Ref: release.KeyRef{Vault: "v", Name: name, Version: version}, KID: "https://v/keys/" + name, ObjectID: r.ObjectID,
		Generation: r.Generation, Attributes: r.Attributes, Policy: r.Policy,
	}
}

// machine enrols one and gives it as a release finds it.
func (b *bench) machine(id, status string) *release.Machine {
	b.t.Helper()
	_, err := b.log.ChangeObject(context.Background(), &release.Record{Operation: "machines/" + status}, release.ObjectMachine, id,
		func(*release.Object) ([]byte, error) { return json.Marshal(release.Enrolled{Status: status}) })
	if err != nil {
		b.t.Fatal(err)
	}
	m, err := release.EnrolledMachines{Objects: b.log.Objects()}.Machine(context.Background(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// allow is a release entry that nothing speaks against, with a nonce of its own.
func (b *bench) allow(k *release.Key, m *release.Machine) release.Entry {
	n := b.nth.Add(1)
	nonce := sha256.Sum256(fmt.Appendf(nil, "nonce %d", n))
	return release.Entry{
		Record: &release.Record{
			Kind: receipt.KindRelease, Decision: receipt.Allow, Door: "native", Correlation: fmt.Sprint(n), Nonce: nonce,
			ObjectID: k.ObjectID, Object: k.Ref.Name, Version: k.Ref.Version, Generation: k.Generation, Policy: k.Policy.Digest,
			Caller: &receipt.Caller{Kind: "machine", ID: "m"},
		},
		Input: []byte(`{"request":{}}`),
		Guard: &release.Guard{Nonce: nonce, NonceExpires: time.UnixMilli(b.now.Load()).Add(2 * time.Minute), Key: k, Machine: m, ResetCount: 7},
	}
}

func (b *bench) append(e release.Entry) *release.Committed {
	b.t.Helper()
	c, err := b.log.Append(context.Background(), e)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// export gives an exported copy and the checkpoint that covers it.
func (b *bench) export() (data, checkpoint []byte) {
	b.t.Helper()
	var buf bytes.Buffer
	cp, err := b.log.Export(context.Background(), &buf)
	if err != nil {
		b.t.Fatal(err)
	}
	return buf.Bytes(), []byte(cp)
}

// badEntry is the entry that an error names, -1 for none.
func badEntry(err error) int64 {
	var e *receipt.EntryError
	if errors.As(err, &e) {
		return e.Index
	}
	return -1
}

// one serves a single connection to database/sql.
type one struct{ c driver.Conn }

func (o one) Connect(context.Context) (driver.Conn, error) { return o.c, nil }

func (o one) Driver() driver.Driver { return nil }

// query reads one row past the ports.
func (b *bench) query(q string) *sql.Row {
	b.t.Helper()
	c, err := new(sqlitedriver.Driver).Open("file:" + b.path + "?mode=ro")
	if err != nil {
		b.t.Fatal(err)
	}
	db := sql.OpenDB(one{c})
	b.t.Cleanup(func() { _ = db.Close() })
	return db.QueryRow(q)
}
