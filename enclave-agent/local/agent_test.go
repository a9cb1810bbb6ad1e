package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release/receipt"
)

// realAgent is an agent on simulated hardware that trusts a fake broker.
func realAgent(t *testing.T, b *agenttest.Broker) *agent.Agent {
	t.Helper()
	d, err := simulate.New("snp", sha256.Sum256([]byte(t.Name())), simulate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(shortDir(t), "hw")
	l, err := simulate.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, l) }()
	a, err := agent.New(t.Context(), agent.Config{
		Trust: &b.Trust, Hardware: agent.Hardware{Platform: attest.TypeSNP.Simulated(), Simulator: socket}, Timeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(a.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return a
}

// trap is a server that nothing may connect to.
func trap(t *testing.T) (address string, dialled *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled = new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), dialled
}

// AG-04: no name in a request, header or environment is connected to; the brokers of
// agent.json are, and only for what the caller may have.
func TestNothingElseIsContacted(t *testing.T) {
	address, dialled := trap(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://"+address)
	}
	b := agenttest.Start(t)
	host := strings.TrimPrefix(b.Server.URL, "https://")
	a := realAgent(t, b)
	s := serve(t, a, onSocket(me(`,"evidence":true,"keys":["`+agenttest.KeyURL+`"]`)))
	s.brokers = map[string]string{host: b.Server.URL}
	asked := func() int {
		n := 0
		b.Change(func() { n = b.Challenges + b.Releases })
		return n
	}
	for _, body := range []string{
		`{"maa_endpoint":"` + address + `","akv_endpoint":"vault.example","kid":"disk"}`,
		`{"maa_endpoint":"169.254.169.254","akv_endpoint":"vault.example","kid":"disk"}`,
		`{"maa_endpoint":"` + host + `","akv_endpoint":"169.254.169.254","kid":"disk"}`,
		`{"maa_endpoint":"` + host + `@` + address + `","akv_endpoint":"vault.example","kid":"disk"}`,
		`{"maa_endpoint":"` + host + `","akv_endpoint":"` + address + `/x","kid":"disk"}`,
	} {
		if status, answer := s.post(t, "/key/release", body); status == http.StatusOK || asked() != 0 {
			t.Errorf("%s: %d %s, %d requests", body, status, answer, asked())
		}
	}
	for _, endpoint := range []string{address, "169.254.169.254", host + "/x", host + "#", host + ":443"} {
		if status, answer := s.post(t, "/attest/maa", `{"maa_endpoint":"`+endpoint+`","runtime_data":"`+runtimeData+`"}`); status != http.StatusForbidden || asked() != 0 {
			t.Errorf("%s: %d %s, %d requests", endpoint, status, answer, asked())
		}
	}
	// No caller can have a key of a vault that is elsewhere, whatever it asks.
	if status, answer := s.post(t, "/key/release", `{"maa_endpoint":"`+host+`","akv_endpoint":"`+address+`","kid":"disk"}`); status != http.StatusForbidden || asked() != 0 {
		t.Errorf("%d %s, %d requests", status, answer, asked())
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/key/release",
		strings.NewReader(`{"maa_endpoint":"`+host+`","akv_endpoint":"vault.example","kid":"disk"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Broker", "https://"+address)
	resp, err := over(s.sock()).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Errorf("the honest request: %s %s", resp.Status, body)
	}
	if n := dialled.Load(); n != 0 {
		t.Errorf("%d connections to where a caller pointed", n)
	}
}

// A caller cannot have a key released to itself: the evidence for that is this agent's.
func TestPurposeIsTheAgents(t *testing.T) {
	b := agenttest.Start(t)
	s := serve(t, realAgent(t, b), onSocket(me(mayEvidence)))
	s.brokers = map[string]string{"b": b.Server.URL}
	for _, data := range []string{
		`{"keys":[{}],"nonce":"AAAA","audience":"` + agenttest.Deployment + `","purpose":"release","key":"` + agenttest.KeyURL + `","enc":"x"}`,
		`{"purpose":"token","vault":"` + agenttest.VaultURL + `"}`,
		`{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"AQAB"}],"vm-configuration":{}}`, // a vTPM of the caller's own
	} {
		encoded := encode(data)
		for path, body := range map[string]string{
			"/attest/raw": `{"runtime_data":"` + encoded + `"}`, "/attest/combined": `{"runtime_data":"` + encoded + `"}`,
			"/attest/maa": `{"maa_endpoint":"b","runtime_data":"` + encoded + `"}`,
		} {
			if status, answer := s.post(t, path, body); status != http.StatusForbidden || !strings.Contains(answer, "member purpose") {
				t.Errorf("%s: %d %s", path, status, answer)
			}
		}
	}
	if status, answer := s.post(t, "/attest/raw", `{"runtime_data":"`+encode(`{"keys":[]}`)+`"}`); status != http.StatusOK || len(answer) != len(`{"report":""}`)+2*1184 {
		t.Errorf("%d %s", status, answer)
	}
}

// AG-14: requests at once each have a recipient key of their own.
func TestParallel(t *testing.T) {
	b := agenttest.Start(t)
	seen := map[receipt.Digest]bool{}
	b.Record = func(r *receipt.Record) { seen[r.Recipient] = true } // under the broker's lock
	s := serve(t, realAgent(t, b), onSocket(me(mayKey)))
	s.brokers = map[string]string{"b": b.Server.URL}
	const n = 200
	statuses := make(chan int, n)
	for range n {
		go func() {
			status, _ := s.post(t, "/key/release", `{"maa_endpoint":"b","akv_endpoint":"vault.example","kid":"disk"}`)
			statuses <- status
		}()
	}
	got := map[int]int{}
	for range n {
		got[<-statuses]++
	}
	if got[http.StatusOK] != len(seen) || got[http.StatusOK]+got[http.StatusTooManyRequests] != n || len(seen) < maxWaiting {
		t.Errorf("statuses %v, %d recipient keys", got, len(seen))
	}
}
