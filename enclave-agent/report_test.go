package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
)

// foreignData is what a program of the SKR sidecar's has attested.
const foreignData = `{"keys":[{"kty":"RSA","kid":"k","key_ops":["encrypt"],"n":"AQAB","e":"AQAB"}]}`

// simulatedAgent is an agent on simulated hardware.
func simulatedAgent(t *testing.T, kind string, b *agenttest.Broker) *Agent {
	t.Helper()
	socket, _ := start(t, kind, simulate.Options{})
	return newAgent(t, b, func(c *Config) {
		c.Hardware = Hardware{Platform: Platform("simulated-" + kind), Simulator: socket}
	})
}

func TestHardwareReport(t *testing.T) {
	sum := sha256.Sum256([]byte(foreignData))
	for kind, want := range map[string]func(raw []byte) bool{
		"snp":   func(raw []byte) bool { return len(raw) == 1184 && bytes.Equal(raw[80:112], sum[:]) },
		"tdx":   func(raw []byte) bool { return bytes.Contains(raw, append(sum[:], make([]byte, 32)...)) },
		"nitro": func(raw []byte) bool { return bytes.Contains(raw, sum[:]) },
	} {
		t.Run(kind, func(t *testing.T) {
			a := simulatedAgent(t, kind, agenttest.Start(t))
			r, err := a.HardwareReport(t.Context(), []byte(foreignData))
			if err != nil || !want(r.Raw) || r.Platform != a.Platform() {
				t.Fatalf("%+v, %v", r, err)
			}
			if block, _ := pem.Decode(r.Chain); (block != nil) != (kind == "snp") {
				t.Errorf("certificates: %s", r.Chain)
			}
			for name, data := range map[string]string{
				"of a release":          `{"keys":[{}],"nonce":"AAAA","audience":"d","purpose":"release","key":"https://h/keys/k","enc":"x"}`,
				"of a token":            ` {"purpose":"token"}`,
				"hidden behind another": `{"purpose":"release","x":1,"x":2}`,
				"not JSON to the end":   ` {"purpose":"release"}{}`,
				"escaped":               `{"purp\u006fse":"release"}`,
				"of a vTPM":             `{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"AQAB"}],"vm-configuration":{}}`,
				"of a vTPM, escaped":    `{"keys":[],"vm\u002dconfiguration":{}}`,
			} {
				if _, err := a.HardwareReport(t.Context(), []byte(data)); !errors.Is(err, ErrPurpose) {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := a.AttestationToken(t.Context(), a.cfg.Trust.URLs[0], []byte(data)); !errors.Is(err, ErrPurpose) {
					t.Errorf("token, %s: %v", name, err)
				}
			}
			for _, size := range []int{0, MaxRuntimeData + 1} {
				if _, err := a.HardwareReport(t.Context(), make([]byte, size)); !errors.Is(err, ErrConfig) {
					t.Errorf("%d bytes: %v", size, err)
				}
			}
		})
	}
	if _, err := newAgent(t, agenttest.Start(t), nil).HardwareReport(t.Context(), []byte(foreignData)); !errors.Is(err, ErrNoReport) {
		t.Errorf("of a TPM: %v", err)
	}
}

// attested answers as an attestation service, and keeps what it was asked.
type attested struct {
	asked  *http.Request
	body   []byte
	status int
	answer string
}

func (s *attested) intercept(w http.ResponseWriter, r *http.Request) bool {
	s.asked = r
	s.body, _ = io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.answer)
	return true
}

func TestAttestationToken(t *testing.T) {
	for kind, c := range map[string]struct{ path, member string }{"snp": {"/attest/SevSnpVm", "report"}, "tdx": {"/attest/TdxVm", "quote"}} {
		t.Run(kind, func(t *testing.T) {
			b := agenttest.Start(t)
			s := &attested{status: http.StatusOK, answer: `{"token":"a.b.c"}`}
			b.Change(func() { b.Intercept = s.intercept })
			a := simulatedAgent(t, kind, b)
			token, err := a.AttestationToken(t.Context(), b.Server.URL, []byte(foreignData))
			if err != nil || token != "a.b.c" || s.asked.URL.Path != c.path || s.asked.URL.Query().Get("api-version") == "" {
				t.Fatalf("%q, %v; asked %v", token, err, s.asked.URL)
			}
			var body struct {
				Report, Quote string
				RuntimeData   struct{ Data, DataType string }
			}
			if err := json.Unmarshal(s.body, &body); err != nil || body.RuntimeData.DataType != "JSON" || (body.Report == "") == (c.member == "report") {
				t.Errorf("%s: %v", s.body, err)
			}
			if got, err := base64.RawURLEncoding.DecodeString(body.RuntimeData.Data); err != nil || string(got) != foreignData {
				t.Errorf("%s, %v", got, err)
			}
			if _, err := a.AttestationToken(t.Context(), b.Server.URL, []byte("no JSON")); err != nil || !strings.Contains(string(s.body), `"Binary"`) {
				t.Errorf("%s, %v", s.body, err)
			}
		})
	}
}

func TestAttestationTokenRefused(t *testing.T) {
	b := agenttest.Start(t)
	s := &attested{}
	b.Change(func() { b.Intercept = s.intercept })
	a := simulatedAgent(t, "snp", b)
	ask := func(broker string) error {
		_, err := a.AttestationToken(t.Context(), broker, []byte(foreignData))
		return err
	}
	for _, broker := range []string{"", "https://169.254.169.254", b.Server.URL + "/", b.Server.URL + "/x", strings.ToUpper(b.Server.URL)} {
		if err := ask(broker); !errors.Is(err, ErrConfig) {
			t.Errorf("broker %q: %v", broker, err)
		}
	}
	if s.asked != nil {
		t.Errorf("%v was asked", s.asked.URL)
	}
	for _, c := range []struct {
		status int
		answer string
		want   int
	}{
		{http.StatusBadRequest, `{"error":{"code":"InvalidParameter","message":"","innererror":{"code":"chain_untrusted"},"correlation_id":"c"}}`, ExitRefused},
		{http.StatusServiceUnavailable, `{}`, ExitUnreachable},
		{http.StatusFound, ``, ExitInvalid},
		{http.StatusOK, `{}`, ExitInvalid},
		{http.StatusOK, `{"token":"a","more":1}`, ExitInvalid},
	} {
		s.status, s.answer = c.status, c.answer
		if err := ask(b.Server.URL); ExitCode(err) != c.want {
			t.Errorf("%d %s: %v: exit %d, want %d", c.status, c.answer, err, ExitCode(err), c.want)
		}
	}
	nitro := simulatedAgent(t, "nitro", b)
	if _, err := nitro.AttestationToken(t.Context(), b.Server.URL, []byte(foreignData)); !errors.Is(err, ErrNoReport) {
		t.Errorf("of Nitro: %v", err)
	}
}

// A report waits for its turn, and no longer than its caller does.
func TestHardwareReportWaits(t *testing.T) {
	a := simulatedAgent(t, "snp", agenttest.Start(t))
	a.turn <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := a.HardwareReport(ctx, []byte(foreignData)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-a.turn
}

// tableOf is a host's table with one certificate under each GUID.
func tableOf(der []byte, guids ...string) []byte {
	out := make([]byte, tableEntry*(len(guids)+1))
	for i, g := range guids {
		copy(out[i*tableEntry:], g)
		binary.LittleEndian.PutUint32(out[i*tableEntry+guidSize:], uint32(len(out)))
		binary.LittleEndian.PutUint32(out[i*tableEntry+guidSize+4:], uint32(len(der)))
		out = append(out, der...)
	}
	return out
}

func FuzzChain(f *testing.F) {
	block, _ := pem.Decode([]byte(agenttest.Start(f).Trust.CA))
	table := tableOf(block.Bytes, guidASK, "another GUID 16!", guidVCEK)
	for _, seed := range [][]byte{nil, table, table[:40], block.Bytes, pem.EncodeToMemory(block)} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	for typ, data := range map[string][]byte{attest.EndorsementCertificateTable: table, attest.EndorsementCertificate: append(block.Bytes, block.Bytes...)} {
		if certs, err := chain(attest.Endorsement{Type: typ, Data: data}); err != nil || len(certs) != 2 {
			f.Fatalf("%s: %d certificates, %v", typ, len(certs), err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, table bool) {
		typ := attest.EndorsementCertificate
		if table {
			typ = attest.EndorsementCertificateTable
		}
		certs, err := chain(attest.Endorsement{Type: typ, Data: b})
		if err != nil && certs != nil {
			t.Error("certificates with an error")
		}
	})
}
