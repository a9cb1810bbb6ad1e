package deployment

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return start }

// site is a deployment on disk as an operator has it.
type site struct {
	base, dir, kek string
	result         *Result
}

func options(base string) Options {
	return Options{
		Dir: filepath.Join(base, "data"), KEKPath: filepath.Join(base, "root.kek"), Hosts: []string{"broker.example:8443"},
		Principal: func(time.Time) (*Administrator, error) {
			return &Administrator{ID: "admin-1", Secret: "s3cr3t-of-the-admin", Principal: []byte(`{"id":"admin-1"}`), Roles: []byte(`{"assignments":[]}`)}, nil
		},
		Now: clock, Binary: "test",
	}
}

func newSite(t *testing.T, change ...func(*Options)) site {
	t.Helper()
	base := t.TempDir()
	o := options(base)
	for _, c := range change {
		c(&o)
	}
	r, err := Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return site{base: base, dir: o.Dir, kek: o.KEKPath, result: r}
}

func (s site) open(t *testing.T) *opened {
	t.Helper()
	o, err := open(t.Context(), s.database(), WithKEK(s.rootKey(t)), clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.close() })
	return o
}

func (s site) database() string { return filepath.Join(s.dir, Database) }

func (s site) rootKey(t *testing.T) seal.KEK {
	t.Helper()
	kek, err := seal.File(s.kek)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

func vault(t *testing.T, o *opened) *keyvault.Service {
	t.Helper()
	s, err := keyvault.New(keyvault.Config{
		Store: o.log.Keys(), Root: o.Root, Deployment: o.ID, BaseURL: "https://broker.example:8443", Now: clock, Ready: o.Ready,
		Check:  func(context.Context, release.ReleasePolicy) error { return nil },
		Record: func(_ context.Context, op string) *release.Record { return record(op) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func yes() *bool { b := true; return &b }

func attestedOnly(kty string) keyvault.CreateKey {
	return keyvault.CreateKey{Kty: kty, Settings: keyvault.Settings{
		AttestedOnly: yes(), Policy: &release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte("package release\n")},
	}}
}

func identity(t *testing.T, s string) age.Identity {
	t.Helper()
	id, err := age.ParseHybridIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestInit(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Simulation = true })
	r := s.result
	if len(r.RecoveryIdentities) != 2 || r.AdminID != "admin-1" || r.AdminSecret == "" || !r.KEKMade {
		t.Errorf("result lacks something: %d identities, admin %q", len(r.RecoveryIdentities), r.AdminID)
	}
	if str := fmt.Sprintf("%v %+v %#v", r, *r, r); strings.Contains(str, r.AdminSecret) && strings.Contains(fmt.Sprint(r), r.AdminSecret) {
		t.Error("formatting a result shows its secrets")
	}
	o := s.open(t)
	if o.ID != r.ID || !o.Simulation || !o.Created.Equal(start) || o.Origin != "openskr."+o.ID+"/log" {
		t.Errorf("opened %s %v %v %s", o.ID, o.Simulation, o.Created, o.Origin)
	}
	trust, err := o.Trust([]string{"https://broker.example:8443"})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(r.Trust)
	if got, _ := json.Marshal(trust); string(got) != string(want) {
		t.Errorf("trust changed between init and open:\n%s\n%s", want, got)
	}
	if _, err := receipt.OpenCheckpoint([]byte(o.log.Checkpoint()), trust.Log.Origin, trust.Log.VKeys[0]); err != nil {
		t.Error(err)
	}
	entries, err := o.log.Entries(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range entries {
		rec, err := receipt.Decode(e.Leaf)
		if err != nil || !rec.Simulation || rec.Deployment != o.ID {
			t.Fatalf("record %d: %+v, %v", e.Index, rec, err)
		}
		kinds = append(kinds, rec.Kind+" "+rec.Operation)
	}
	if got, want := strings.Join(kinds, ", "), "genesis deployment/init, change principals/create, change roles/assign, change recovery/drill, change recovery/drill"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
	if p, err := o.log.Objects().Object(t.Context(), release.ObjectPrincipal, "admin-1"); err != nil || string(p.Value) != `{"id":"admin-1"}` {
		t.Errorf("administrator: %v, %v", p, err)
	}
	if r, err := o.log.Objects().Object(t.Context(), release.ObjectRoles, "admin-1"); err != nil || string(r.Value) != `{"assignments":[]}` {
		t.Errorf("its roles: %v, %v", r, err)
	}
	if err := o.Ready(t.Context()); err != nil {
		t.Errorf("drilled by init, yet %v", err)
	}
}

// Nothing is left of an init that failed, at whatever point.
func TestInitAllOrNothing(t *testing.T) {
	failing := errors.New("stop")
	for name, change := range map[string]func(*Options){
		"principal": func(o *Options) {
			o.Principal = func(time.Time) (*Administrator, error) { return nil, failing }
		},
		"finish":        func(o *Options) { o.Finish = func(string, *Result) error { return failing } },
		"one recipient": func(o *Options) { o.RecoveryRecipients = []string{recipientX(t)} },
		"same twice":    func(o *Options) { r := recipientX(t); o.RecoveryRecipients = []string{r, r} },
		"not age":       func(o *Options) { o.RecoveryRecipients = []string{recipientX(t), "age1nonsense"} },
		"mixed":         func(o *Options) { o.RecoveryRecipients = []string{recipientX(t), recipientPQ(t)} },
		"KEK in data":   func(o *Options) { o.KEKPath = filepath.Join(o.Dir, "kek") },
		"no host":       func(o *Options) { o.Hosts = nil },
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			o := options(base)
			change(&o)
			if _, err := Init(t.Context(), o); err == nil {
				t.Fatal("no error")
			}
			if left, _ := os.ReadDir(base); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestInitKeepsForeignFiles(t *testing.T) {
	base := t.TempDir()
	o := options(base)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), o); err != nil {
		t.Fatalf("an empty folder: %v", err)
	}
	before, _ := os.ReadFile(o.KEKPath)
	if _, err := Init(t.Context(), o); err == nil {
		t.Error("init over a deployment")
	}
	if after, err := os.ReadFile(o.KEKPath); err != nil || string(after) != string(before) {
		t.Errorf("root key of the first deployment: %v", err)
	}
}

func recipientX(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

func recipientPQ(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Recipient().String()
}

func TestOpenRefuses(t *testing.T) {
	s := newSite(t)
	other, err := seal.NewFile(filepath.Join(s.base, "other.kek"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context(), s.database(), WithKEK(other), clock); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("another root key: %v", err)
	}
	if _, err := open(t.Context(), filepath.Join(s.base, "none"), WithKEK(other), clock); err == nil {
		t.Error("opened nothing")
	}
	s.open(t)
	if _, err := open(t.Context(), s.database(), WithKEK(s.rootKey(t)), clock); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second broker: %v", err)
	}
}

// What is readable of a deployment is believed only under its MAC: whoever edits
// the store cannot turn a deployment into one that takes simulated evidence.
func TestPublicIsAuthentic(t *testing.T) {
	s := newSite(t)
	o := s.open(t)
	b, err := o.store.Secret(t.Context(), secretPublic)
	if err != nil {
		t.Fatal(err)
	}
	var signed signedPublic
	if err := json.Unmarshal(b, &signed); err != nil {
		t.Fatal(err)
	}
	signed.Public = []byte(strings.Replace(string(signed.Public), `"simulation":false`, `"simulation":true`, 1))
	edited, err := json.Marshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), edit{o.store, secretPublic, edited}, WithKEK(s.rootKey(t))); !errors.Is(err, errSealed) {
		t.Errorf("simulation turned on: %v", err)
	}
	if _, err := Load(t.Context(), edit{o.store, secretPublic, b}, WithKEK(s.rootKey(t))); err != nil {
		t.Errorf("as it was: %v", err)
	}
}

// edit is a store with one sealed value replaced.
type edit struct {
	secrets
	name  string
	value []byte
}

func (e edit) Secret(ctx context.Context, name string) ([]byte, error) {
	if name == e.name {
		return e.value, nil
	}
	return e.secrets.Secret(ctx, name)
}

// The two CAs are good for their own purpose only.
func TestCertificates(t *testing.T) {
	o := newSite(t).open(t)
	leaf, err := o.TLSLeaf([]string{"broker.example:8443", "10.0.0.7", "[2001:db8::1]:8443"}, start)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(o.TLSCAs[0].Cert)
	for _, host := range []string{"broker.example", "10.0.0.7", "2001:db8::1"} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, CurrentTime: start}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: "other.example", Roots: pool, CurrentTime: start}); err == nil {
		t.Error("good for another host")
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: start.Add(leafLife + time.Second)}); err == nil {
		t.Error("good for more than a week")
	}
	if _, err := o.TLSLeaf([]string{"", ":8443"}, start); err == nil {
		t.Error("a leaf without a host")
	}
	// The AK CA signs a TLS leaf all the same: no TLS client takes it.
	o.TLSCAs = o.AKCAs
	bad, err := o.TLSLeaf([]string{"broker.example"}, start)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(o.AKCAs[0].Cert)
	if _, err := bad.Leaf.Verify(x509.VerifyOptions{DNSName: "broker.example", Roots: pool, CurrentTime: start}); err == nil {
		t.Error("the AK CA certifies TLS")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"log":["x"],"response":[],"token":[],"ak_ca":[],"tls_ca":[]}`))
	f.Add([]byte(`{"public":"e30=","mac":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRing(b); (r == nil) != (err != nil) {
			t.Fatal(r, err)
		}
		if p, verify, err := decodePublic(b); err == nil && (p.V != 1 || verify(make([]byte, dkSize)) == nil) {
			t.Fatal("believed without a MAC")
		}
	})
}
