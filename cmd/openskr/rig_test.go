package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-eventlog/testdata"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/wrap"
)

// rig is a deployment with one approved machine (whose TPM is tpmtest's, so that
// evidence is made faster than the broker verifies it) and one key, served by a
// child process that can be killed.
type rig struct {
	tb      testing.TB
	dir     string
	url     string
	key     string // key URL
	trust   receipt.Trust
	machine *tpmtest.Machine
	// endorsed is the machine's AK certificate, one for all its evidence.
	endorsed []attest.Endorsement
	// hardware, when set, makes the evidence instead of the machine's TPM.
	hardware func(runtimeData []byte) (attest.Evidence, error)
	child    *exec.Cmd
	env      []string // of the child, besides this process's
	client   *http.Client
}

const rigPolicy = `package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.claims.secureboot
	startswith(input.claims.boot.cmdline, "(hd0,gpt2)/boot/vmlinuz-4.18.0")
	input.claims.tpm.pcrs.sha256["4"] == "%x"
	input.claims.tpm.pcrs.sha256["7"] == "%x"
	input.claims.tpm.pcrs.sha256["12"] == "%x"
}
`

// newRig makes the deployment; populate, when set, works on its opened broker.
func newRig(tb testing.TB, populate func(ctx context.Context, b *broker)) *rig {
	tb.Helper()
	r := bareRig(tb, initFlags{})
	r.populate(populate)
	return r
}

// bareRig makes a deployment without machine and key.
func bareRig(tb testing.TB, f initFlags) *rig {
	tb.Helper()
	r := &rig{tb: tb, dir: filepath.Join(tb.TempDir(), "d")}
	f.data, f.listen = r.dir, freeAddress(tb)
	r.url = "https://" + f.listen
	a := &app{stdout: io.Discard, stderr: io.Discard, json: true}
	if err := a.init(tb.Context(), f); err != nil {
		tb.Fatal(err)
	}
	trust, err := (&app{}).readTrust(filepath.Join(r.dir, agentFile))
	if err != nil {
		tb.Fatal(err)
	}
	r.trust = *trust
	if r.client, err = pinned([]byte(trust.CA)); err != nil {
		tb.Fatal(err)
	}
	r.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	r.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 256
	return r
}

// withBroker works on the broker before it is served.
func (r *rig) withBroker(work func(ctx context.Context, b *broker)) {
	r.tb.Helper()
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		r.tb.Fatal(err)
	}
	b, err := openBroker(r.tb.Context(), brokerOptions{Dir: r.dir, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
	if err != nil {
		r.tb.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			r.tb.Fatal(err)
		}
	}()
	work(r.tb.Context(), b)
}

func (r *rig) populate(more func(ctx context.Context, b *broker)) {
	r.tb.Helper()
	r.withBroker(func(ctx context.Context, b *broker) {
		r.enrolled(ctx, b)
		if more != nil {
			more(ctx, b)
		}
	})
}

// enrolled puts the approved machine and the key into the deployment.
func (r *rig) enrolled(ctx context.Context, b *broker) {
	r.tb.Helper()
	var err error
	if r.machine, err = tpmtest.New(time.Now()); err != nil {
		r.tb.Fatal(err)
	}
	r.machine.CA, r.machine.CAKey = b.dep.AKCAs[0].Cert, b.dep.AKCAs[0].Key
	r.machine.Log, r.machine.PCRs = testdata.Rhel8EventLog, replayed(r.tb, testdata.Rhel8EventLog)
	if r.endorsed, err = r.machine.Endorsements(); err != nil {
		r.tb.Fatal(err)
	}
	value, err := strict.Marshal(release.Enrolled{Status: release.MachineApproved, EKHash: r.machine.EKHash[:], Created: 1, Updated: 1})
	if err != nil {
		r.tb.Fatal(err)
	}
	rec := b.records(ctx, "machines/approve")
	rec.Object = r.machine.ID
	if _, err := b.log.ChangeObject(ctx, rec, release.ObjectMachine, r.machine.ID, func(*release.Object) ([]byte, error) { return value, nil }); err != nil {
		r.tb.Fatal(err)
	}
	r.key = r.makeKey(ctx, b, "bench", keyvault.CreateKey{Kty: keyvault.KtyRSA, Size: 2048}, r.policy())
}

// makeKey makes a key that is released to evidence alone, and gives its URL with version.
func (r *rig) makeKey(ctx context.Context, b *broker, name string, k keyvault.CreateKey, policy []byte) string {
	r.tb.Helper()
	attested := true
	k.AttestedOnly, k.Policy = &attested, &release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: policy}
	row, err := b.keys.Create(ctx, keyvault.DefaultVault, name, k)
	if err != nil {
		r.tb.Fatal(err)
	}
	return r.url + "/keys/" + row.Name + "/" + row.Version
}

func (r *rig) policy() []byte {
	return fmt.Appendf(nil, rigPolicy, r.machine.PCRs[4], r.machine.PCRs[7], r.machine.PCRs[12])
}

// replayed gives the SHA-256 PCRs that a log leads to, by another parser than ours.
func replayed(tb testing.TB, raw []byte) map[int][]byte {
	tb.Helper()
	log, err := tcg.ParseEventLog(raw, tcg.ParseOpts{})
	if err != nil {
		tb.Fatal(err)
	}
	out := map[int][]byte{}
	for i := range 24 {
		out[i] = make([]byte, 32)
	}
	for _, e := range log.Events(register.HashSHA256) {
		if e.UntrustedType() == tcg.NoAction {
			continue
		}
		h := sha256.Sum256(append(bytes.Clone(out[int(e.MRIndex())]), e.ReplayedDigest()...))
		out[int(e.MRIndex())] = h[:]
	}
	return out
}

// serveEnv makes the test binary a broker (TestMain): a JSON servedBroker.
const serveEnv = "OPENSKR_TEST_SERVE"

// servedBroker is how a child serves.
type servedBroker struct {
	Dir    string
	Step   string // kill -9 itself when a release comes to this step …
	After  int    // … for the time after this many
	Empty  bool   // answers every request with 600 bytes, and is no broker
	Single bool   // one commit a release
	Delay  time.Duration
	Ahead  time.Duration // its clock is, and --accept-clock given
}

// start starts the child and waits until it answers.
func (r *rig) start(s servedBroker) {
	r.tb.Helper()
	s.Dir = r.dir
	env, err := json.Marshal(s)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.child = exec.Command(os.Args[0])
	r.child.Env = append(append(os.Environ(), r.env...), serveEnv+"="+string(env))
	r.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	r.child.Stderr = &log
	if err := r.child.Start(); err != nil {
		r.tb.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := r.client.Get(r.url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			_ = r.child.Process.Kill()
			_ = r.child.Wait()
			r.tb.Fatalf("the broker did not start: %v\n%s", err, log.String())
		}
		time.Sleep(5 * time.Millisecond) // another process: nothing to wait on but its answer
	}
}

// stop ends the child and gives how it ended.
func (r *rig) stop(sig syscall.Signal) error {
	_ = r.child.Process.Signal(sig)
	err := r.child.Wait()
	r.client.CloseIdleConnections()
	return err
}

// attempt is a release request and what is needed to open its answer.
type attempt struct {
	body      []byte
	runtime   []byte
	nonce     []byte
	recipient [32]byte
	private   hpke.PrivateKey
	status    int
	header    http.Header
	answer    []byte
	took      time.Duration
}

// prepare asks for a challenge and makes evidence for it.
func (r *rig) prepare(ctx context.Context) (*attempt, error) {
	if r.hardware != nil {
		private, err := hpke.MLKEM768P256().GenerateKey()
		if err != nil {
			return nil, err
		}
		return r.ask(ctx, r.key, private, r.hardware)
	}
	pq, err := mlkem.GenerateKey768()
	if err != nil {
		return nil, err
	}
	m := *r.machine
	private, err := hpke.NewHybridPrivateKey(pq, ecdh.KeyExchanger(m.RecipientKey))
	if err != nil {
		return nil, err
	}
	return r.ask(ctx, r.key, private, func(runtime []byte) (attest.Evidence, error) {
		body, err := m.Body(runtime)
		if err != nil {
			return attest.Evidence{}, err
		}
		ev, err := strict.Marshal(body)
		return attest.Evidence{Body: ev, Endorsements: r.endorsed}, err
	})
}

// ask asks for a challenge for a key and has evidence made for it.
func (r *rig) ask(ctx context.Context, key string, private hpke.PrivateKey, collect func(runtime []byte) (attest.Evidence, error)) (*attempt, error) {
	var c binding.Challenge
	if _, err := r.post(ctx, "/v1/challenge", binding.ChallengeRequest{Purpose: binding.PurposeRelease, Key: key}, &c); err != nil {
		return nil, err
	}
	a := &attempt{nonce: c.Nonce, private: private}
	if err := a.write(r.trust.Deployment, key); err != nil {
		return nil, err
	}
	ev, err := collect(a.runtime)
	if err != nil {
		return nil, err
	}
	return a, a.with(ev)
}

// write makes the runtime data that names the attempt's recipient.
func (a *attempt) write(deployment, key string) error {
	jwk := fmt.Sprintf(`{"kty":"HPKE","kem":80,"kid":"r","pub":%q}`, base64.RawURLEncoding.EncodeToString(a.private.PublicKey().Bytes()))
	parsed, err := wrap.ParseRecipient([]byte(jwk))
	if err != nil {
		return err
	}
	a.recipient = parsed.Thumbprint()
	rd := &binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(jwk)}, Nonce: a.nonce, Audience: deployment, Purpose: binding.PurposeRelease, Key: key, Enc: wrap.EncHPKEMLKEM768P256,
	}
	a.runtime, err = rd.Encode()
	return err
}

// with makes the request's body of runtime data and evidence.
func (a *attempt) with(ev attest.Evidence) (err error) {
	a.body, err = strict.Marshal(binding.ReleaseRequest{RuntimeData: a.runtime, Evidence: jsontext.Value(ev.Body), Endorsements: ev.Endorsements})
	return err
}

// send makes the attempt.
func (r *rig) send(ctx context.Context, a *attempt) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/release", bytes.NewReader(a.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	t := time.Now()
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if a.answer, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	a.status, a.header, a.took = resp.StatusCode, resp.Header, time.Since(t)
	return nil
}

// opened checks an allowed answer as an agent does and gives the key.
func (a *attempt) open(t *receipt.Trust) (*receipt.Response, []byte, error) {
	var out binding.ReleaseResponse
	if err := json.Unmarshal(a.answer, &out); err != nil {
		return nil, nil, err
	}
	parts := strings.Split(out.Response, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("not a JWS")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, nil, err
	}
	var resp receipt.Response
	if err := json.Unmarshal(payload, &resp); err != nil {
		return nil, nil, err
	}
	if _, err := resp.Receipt.Verify(t.Log.Origin, t.Log.VKeys[0]); err != nil {
		return nil, nil, err
	}
	leaf := receipt.LeafHash(resp.Receipt.Leaf)
	key, err := wrap.OpenHPKE(a.private, receipt.WrapInfo(a.runtime), leaf[:], resp.Ciphertext)
	return &resp, key, err
}

func (r *rig) post(ctx context.Context, path string, in, out any) (int, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("%s: %d %s", path, resp.StatusCode, b)
	}
	return resp.StatusCode, json.Unmarshal(b, out)
}
