package enroll

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

func wantReason(t *testing.T, what string, err error, want release.Reason) {
	t.Helper()
	if err == nil || release.ReasonOf(err) != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// operations lists the records, oldest first.
func (w *world) operations() string {
	var out []string
	for _, r := range w.store.Leaves {
		op := r.Operation
		if r.Decision == receipt.Deny {
			op += "!" + r.Reason
		}
		out = append(out, op)
	}
	return strings.Join(out, " ")
}

// status changes a machine as an operator does.
func (w *world) status(t *testing.T, id, status string) {
	t.Helper()
	_, err := w.store.ChangeObject(t.Context(), &release.Record{V: 1}, release.ObjectMachine, id, func(old *release.Object) ([]byte, error) {
		var e release.Enrolled
		if err := json.Unmarshal(old.Value, &e); err != nil {
			return nil, err
		}
		e.Status = status
		return json.Marshal(e)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestApproval(t *testing.T) {
	w := newWorld(t, nil)
	f := w.tpm(t)
	c := must[*format.EnrollChallenge](t)(w.Begin(t.Context(), f.request()))
	if c.MachineID != "" || c.Status != "" || len(w.store.Docs) != 0 || len(w.store.Leaves) != 0 {
		t.Fatal("something is told or written before the proof")
	}
	res := must[*format.EnrollResult](t)(w.Finish(t.Context(), format.EnrollProof{State: c.State, Secret: must[[]byte](t)(f.activate(c))}))
	if res.Status != release.MachinePending || len(res.Certificate) != 0 || len(res.MachineID) != 32 {
		t.Fatalf("first enrolment: %+v", res)
	}
	again := w.enroll(t, f)
	if again.MachineID != res.MachineID || again.Status != release.MachinePending || len(again.Certificate) != 0 {
		t.Fatalf("waiting: %+v", again)
	}
	w.status(t, res.MachineID, release.MachineApproved)
	approved := w.enroll(t, f)
	if approved.Status != release.MachineApproved || len(approved.Certificate) == 0 {
		t.Fatalf("approved: %+v", approved)
	}
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(approved.Certificate))
	if cert.Subject.CommonName != res.MachineID || !cert.NotAfter.Equal(w.now.Add(MaxLife)) || len(cert.ExtKeyUsage) != 0 {
		t.Errorf("certificate for %s until %v, uses %v", cert.Subject.CommonName, cert.NotAfter, cert.ExtKeyUsage)
	}
	if err := cert.CheckSignatureFrom(w.cfg.CA); err != nil {
		t.Error(err)
	}
	ek := must[*x509.Certificate](t)(x509.ParseCertificate(f.cert))
	if spki, whole, ok := tpm.CertifiedEK(cert); !ok || spki != sha256.Sum256(ek.RawSubjectPublicKeyInfo) || whole != sha256.Sum256(f.cert) {
		t.Errorf("certifies EK %x, %x", spki, whole)
	}
	w.status(t, res.MachineID, release.MachineDenied)
	if denied := w.enroll(t, f); denied.Status != release.MachineDenied || len(denied.Certificate) != 0 {
		t.Errorf("denied: %+v", denied)
	}
	if got := w.operations(); got != "machines/enroll  machines/certificate  machines/certificate!machine_denied" {
		t.Errorf("records: %s", got)
	}
	machine, err := (release.EnrolledMachines{Objects: w.store}).Machine(t.Context(), res.MachineID)
	if err != nil || machine.Status != release.MachineDenied {
		t.Errorf("the broker sees %+v, %v", machine, err)
	}
}

// TestRow pins what a machine's row holds.
func TestRow(t *testing.T) {
	w := newWorld(t, nil)
	f := w.tpm(t)
	id := w.enroll(t, f).MachineID
	var row release.Enrolled
	if err := json.Unmarshal(w.store.Docs[release.ObjectMachine+"/"+id].Value, &row); err != nil {
		t.Fatal(err)
	}
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(f.cert))
	spki := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	if !bytes.Equal(row.EKHash, spki[:]) || !bytes.Equal(row.EKCertificate, f.cert) || row.EKIssuer != "CN=maker" || row.EKSerial != "7" ||
		row.Created != w.now.Unix() || row.Updated != w.now.Unix() || id != MachineID(make([]byte, 32), spki) {
		t.Errorf("%+v", row)
	}
	if other := MachineID(bytes.Repeat([]byte{1}, 32), spki); other == id {
		t.Error("machine id does not depend on the deployment's key")
	}
}

func TestAutomaticApproval(t *testing.T) {
	t.Run("EK key", func(t *testing.T) {
		w := newWorld(t, nil)
		f := w.tpm(t)
		cert := must[*x509.Certificate](t)(x509.ParseCertificate(f.cert))
		w.allow[sha256.Sum256(cert.RawSubjectPublicKeyInfo)] = struct{}{}
		if res := w.enroll(t, f); res.Status != release.MachineApproved || len(res.Certificate) == 0 {
			t.Errorf("%+v", res)
		}
		if res := w.enroll(t, w.tpm(t)); res.Status != release.MachinePending {
			t.Errorf("another machine: %+v", res)
		}
	})
	t.Run("EK certificate, later", func(t *testing.T) {
		w := newWorld(t, nil)
		f := w.tpm(t)
		w.enroll(t, f)
		w.allow[sha256.Sum256(f.cert)] = struct{}{}
		if res := w.enroll(t, f); res.Status != release.MachineApproved || len(res.Certificate) == 0 {
			t.Errorf("%+v", res)
		}
		if got := w.operations(); got != "machines/enroll machines/approve machines/certificate" {
			t.Errorf("records: %s", got)
		}
		if by := w.store.Leaves[1].Detail["by"]; by != "allow_list" {
			t.Errorf("approved by %q", by)
		}
	})
	t.Run("open", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Open = true })
		f := w.tpm(t)
		res := w.enroll(t, f)
		if res.Status != release.MachineApproved || w.store.Leaves[0].Detail["by"] != "open_enrollment" {
			t.Errorf("%+v", res)
		}
		w.status(t, res.MachineID, release.MachineDenied)
		if res := w.enroll(t, f); res.Status != release.MachineDenied || len(res.Certificate) != 0 {
			t.Errorf("open enrolment lifts a denial: %+v", res)
		}
	})
}

// TestDenyList: the operator's deny list, by either hash, wins over the allow list,
// open enrolment and an approved row, and leaves a record but no row.
func TestDenyList(t *testing.T) {
	for name, hash := range map[string]func(f *fakeTPM) [32]byte{
		"EK key": func(f *fakeTPM) [32]byte {
			return sha256.Sum256(must[*x509.Certificate](t)(x509.ParseCertificate(f.cert)).RawSubjectPublicKeyInfo)
		},
		"EK certificate": func(f *fakeTPM) [32]byte { return sha256.Sum256(f.cert) },
	} {
		t.Run(name, func(t *testing.T) {
			deny := AllowList{}
			w := newWorld(t, func(c *Config) {
				c.Open, c.Denied = true, func(spki, cert [32]byte) bool { return deny.Allows(spki) || deny.Allows(cert) }
			})
			f, known := w.tpm(t), w.tpm(t)
			id := w.enroll(t, known).MachineID
			deny[hash(f)], deny[hash(known)], w.allow[hash(f)] = struct{}{}, struct{}{}, struct{}{}
			for _, f := range []*fakeTPM{f, known} {
				if res := w.enroll(t, f); res.Status != release.MachineDenied || len(res.Certificate) != 0 || len(res.MachineID) != 32 {
					t.Errorf("%+v", res)
				}
			}
			if len(w.store.Docs) != 1 || w.store.Docs[release.ObjectMachine+"/"+id] == nil {
				t.Errorf("%d rows", len(w.store.Docs))
			}
			refused := "machines/certificate!machine_denied"
			if got := w.operations(); got != "machines/enroll machines/certificate "+refused+" "+refused {
				t.Errorf("records: %s", got)
			}
			if by := w.store.Leaves[2].Detail["by"]; by != "deny_list" {
				t.Errorf("denied by %q", by)
			}
			if res := w.enroll(t, w.tpm(t)); res.Status != release.MachineApproved {
				t.Errorf("another machine: %+v", res)
			}
		})
	}
}

// TestOtherTPM is EV-18: certificate of one TPM, activation by another.
func TestOtherTPM(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	a, b := w.tpm(t), w.tpm(t)
	mixed := a.request()
	mixed.EKPublic = b.request().EKPublic
	_, err := w.Begin(t.Context(), mixed)
	wantReason(t, "certificate of A, public area of B", err, release.ReasonEKNotTrusted)

	stolen := a.request()
	stolen.AK = b.request().AK // B wants its AK certified by A's EK
	c := must[*format.EnrollChallenge](t)(w.Begin(t.Context(), stolen))
	if _, err := a.activate(c); err == nil {
		t.Error("A opens a credential for an AK that it does not hold")
	}
	if _, err := b.activate(c); err == nil {
		t.Error("B opens a credential for A's EK")
	}
	_, err = w.Finish(t.Context(), format.EnrollProof{State: c.State, Secret: make([]byte, 32)})
	wantReason(t, "guessed secret", err, release.ReasonEnrollState)

	honest := w.proof(t, b)
	c = must[*format.EnrollChallenge](t)(w.Begin(t.Context(), stolen))
	_, err = w.Finish(t.Context(), format.EnrollProof{State: c.State, Secret: honest.Secret})
	wantReason(t, "secret of another credential", err, release.ReasonEnrollState)
	if len(w.store.Docs) != 0 || len(w.store.Leaves) != 0 {
		t.Error("a failed proof leaves a row or a record")
	}
}

func TestEKChain(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	stranger := newCA(t, "maker", w.now.Add(-time.Hour), w.now.Add(time.Hour)) // same name, other key
	_, err := w.Begin(t.Context(), stranger.newTPM(t, w.now.Add(-time.Hour), w.now.Add(time.Hour)).request())
	wantReason(t, "unknown maker", err, release.ReasonEKNotTrusted)
	_, err = w.Begin(t.Context(), w.maker.newTPM(t, w.now.Add(-2*time.Hour), w.now.Add(-time.Hour)).request())
	wantReason(t, "expired EK certificate", err, release.ReasonEKNotTrusted)
	_, err = w.Begin(t.Context(), w.maker.newTPM(t, w.now.Add(time.Hour), w.now.Add(2*time.Hour)).request())
	wantReason(t, "EK certificate of tomorrow", err, release.ReasonEKNotTrusted)
	req := w.tpm(t).request()
	req.Intermediates = make([]attest.Bytes, 100)
	_, err = w.Begin(t.Context(), req)
	wantReason(t, "a hundred intermediates", err, release.Reason(attest.CheckMalformed))
}

func TestAKAttributes(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	f := w.tpm(t)
	for name, change := range map[string]func(*tpm2.TPMTPublic){
		"not restricted":        func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false },
		"not fixedTPM":          func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false },
		"not fixedParent":       func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false },
		"imported":              func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false },
		"cannot sign":           func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false },
		"decrypts":              func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true },
		"an EK":                 func(p *tpm2.TPMTPublic) { *p = f.area },
		"encrypted duplication": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.EncryptedDuplication = true },
	} {
		ak := f.ak
		change(&ak)
		req := f.request()
		req.AK = tpm2.Marshal(ak)
		_, err := w.Begin(t.Context(), req)
		wantReason(t, name, err, release.Reason(attest.CheckAKNotTrusted))
	}
	for _, raw := range [][]byte{nil, {0}, bytes.Repeat([]byte{0xff}, 4096)} {
		req := f.request()
		req.AK = raw
		_, err := w.Begin(t.Context(), req)
		wantReason(t, "garbage", err, release.Reason(attest.CheckAKNotTrusted))
	}
}

func TestState(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	f := w.tpm(t)
	p := w.proof(t, f)
	if res := must[*format.EnrollResult](t)(w.Finish(t.Context(), p)); res.Status != release.MachineApproved {
		t.Fatal(res.Status)
	}
	_, err := w.Finish(t.Context(), p)
	wantReason(t, "replayed", err, release.ReasonEnrollState)

	p = w.proof(t, f)
	_, err = w.Finish(t.Context(), format.EnrollProof{State: p.State, Secret: make([]byte, 32)})
	wantReason(t, "wrong secret", err, release.ReasonEnrollState)
	_, err = w.Finish(t.Context(), p)
	wantReason(t, "right secret after a wrong one", err, release.ReasonEnrollState)

	p = w.proof(t, f)
	w.now = w.now.Add(StateLife + time.Second)
	_, err = w.Finish(t.Context(), p)
	wantReason(t, "expired", err, release.ReasonEnrollState)
	w.now = w.now.Add(-time.Hour)
	_, err = w.Finish(t.Context(), p)
	wantReason(t, "clock stepped back", err, release.ReasonEnrollState)
	w.now = w.now.Add(time.Hour - time.Second)
	if _, err = w.Finish(t.Context(), p); err != nil {
		t.Errorf("in its last second: %v", err)
	}

	p = w.proof(t, f)
	for at := range p.State {
		bad := bytes.Clone(p.State)
		bad[at] ^= 1
		_, err := w.Finish(t.Context(), format.EnrollProof{State: bad, Secret: p.Secret})
		wantReason(t, "changed", err, release.ReasonEnrollState)
	}
	for _, n := range []int{0, 1, 11, 28, len(p.State) - 1} {
		_, err := w.Finish(t.Context(), format.EnrollProof{State: p.State[:n], Secret: p.Secret})
		wantReason(t, "cut", err, release.ReasonEnrollState)
	}
	for name, change := range map[string]func(*Config){
		"of another deployment": func(c *Config) { c.Deployment = "d2" },
		"under another key":     func(c *Config) { c.Key = bytes.Repeat([]byte{1}, 32) },
	} {
		other := newWorld(t, change)
		other.now = w.now
		_, err := other.Finish(t.Context(), p)
		wantReason(t, name, err, release.ReasonEnrollState)
	}
	twin := newWorld(t, nil) // a replica opens it: the two above fail for their own reason
	twin.now = w.now
	if _, err := twin.Finish(t.Context(), p); err != nil {
		t.Errorf("a replica: %v", err)
	}
}

func TestBurnedIsBounded(t *testing.T) {
	var b burned
	now := time.Unix(1000, 0)
	st := func(i int, expires int64) *state {
		return &state{Expires: expires, id: [16]byte{byte(i), byte(i >> 8), byte(i >> 16)}}
	}
	for i := range maxBurned {
		if err := b.add(st(i, 1060), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.add(st(maxBurned, 1060), now); !errors.Is(err, errFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := b.add(st(0, 1060), now); !errors.Is(err, errReplayed) {
		t.Errorf("when full, a replay is %v", err)
	}
	if err := b.add(st(maxBurned, 1121), now.Add(61*time.Second)); err != nil || len(b.seen) != 1 {
		t.Errorf("after expiry: %v, %d remembered", err, len(b.seen))
	}
}

// TestUnrecorded: without a record there is neither row nor certificate.
func TestUnrecorded(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	f := w.tpm(t)
	down := release.Refuse(release.ReasonLogUnavailable, "disk full")
	w.store.Fault = func(*release.Record) error { return down }
	_, err := w.Finish(t.Context(), w.proof(t, f))
	wantReason(t, "row", err, release.ReasonLogUnavailable)
	w.store.Fault = func(r *release.Record) error {
		if r.Operation == OpCertificate {
			return down
		}
		return nil
	}
	res, err := w.Finish(t.Context(), w.proof(t, f))
	wantReason(t, "certificate", err, release.ReasonLogUnavailable)
	if res != nil {
		t.Errorf("a certificate without its record: %+v", res)
	}
	w.store.Fault = nil
	id := w.enroll(t, f).MachineID
	w.status(t, id, release.MachineDenied)
	w.store.Fault = func(*release.Record) error { return down }
	_, err = w.Finish(t.Context(), w.proof(t, f))
	wantReason(t, "denial", err, release.ReasonLogUnavailable)
}

// TestCertificateEnds: never later than the CA or the EK certificate.
func TestCertificateEnds(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Open = true })
	f := w.maker.newTPM(t, w.now.Add(-time.Hour), w.now.Add(2*time.Hour))
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(w.enroll(t, f).Certificate))
	if !cert.NotAfter.Equal(w.now.Add(2 * time.Hour)) {
		t.Errorf("ends %v", cert.NotAfter)
	}
}

func TestNew(t *testing.T) {
	good := newWorld(t, nil).cfg
	for name, change := range map[string]func(*Config){
		"no roots":        func(c *Config) { c.EKRoots = nil },
		"no CA":           func(c *Config) { c.CA = nil },
		"no CA key":       func(c *Config) { c.CAKey = nil },
		"no objects":      func(c *Config) { c.Objects = nil },
		"no log":          func(c *Config) { c.Log = nil },
		"no deployment":   func(c *Config) { c.Deployment = "" },
		"no records":      func(c *Config) { c.Record = nil },
		"no clock":        func(c *Config) { c.Now = nil },
		"short key":       func(c *Config) { c.Key = make([]byte, 16) },
		"no pseudonym":    func(c *Config) { c.Pseudonym = nil },
		"life of a week":  func(c *Config) { c.Life = 7 * 24 * time.Hour },
		"life of a blink": func(c *Config) { c.Life = time.Second },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
