package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// to sends a request to a host that the client calls the broker by.
func (p *passport) to(host, method, path, bearer, contentType string, body []byte) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (p *passport) json(host, method, path, bearer string, body any) (int, string) {
	p.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.to(host, method, path+"?api-version=7.4", bearer, "application/json", b)
}

// proven has runtime data attested at a host, and gives the token, "" when it is refused.
func (p *passport) proven(host string, chip snpsim.Chip, dataType, data string) (token, answer string) {
	p.t.Helper()
	sim, err := snpsim.New(p.seed)
	if err != nil {
		p.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(data))
	report, err1 := sim.Report([64]byte(append(sum[:], make([]byte, 32)...)), chip)
	leaf, err2 := sim.Leaf(chip)
	if err1 != nil || err2 != nil {
		p.t.Fatal(err1, err2)
	}
	doc, err := json.Marshal(map[string]attest.Bytes{
		"SnpReport": report, "VcekCertChain": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	status, answer := p.json(host, http.MethodPost, "/attest/SevSnpVm", "", map[string]any{
		"report": attest.Bytes(doc), "runtimeData": map[string]any{"data": attest.Bytes(data), "dataType": dataType},
	})
	var out struct{ Token string }
	if status != http.StatusOK || json.Unmarshal([]byte(answer), &out) != nil {
		return "", answer
	}
	return out.Token, answer
}

// keys is runtime data with the target key among others.
func (p *passport) keys(before, members string) string {
	return fmt.Sprintf(`{"keys":[%s{"kty":"RSA","kid":"target","e":"AQAB","n":"%s",%s}]}`, before,
		base64.RawURLEncoding.EncodeToString(p.target.N.Bytes()), members)
}

const encrypts = `"key_ops":["encrypt"]`

// TestKeyVaultConfused sends the right things to the wrong places: tokens of every kind
// for each other, names of hosts and vaults that look alike, keys that the hardware did
// not vouch for. Nothing comes out, and what is refused is recorded.
func TestKeyVaultConfused(t *testing.T) {
	r := newTEERig(t)
	r.configure(t, "vault_suffixes: []", "vault_suffixes: [kv.example]")
	denied := r.denyList(t)
	p := &passport{teeRig: r, t: t}
	var native string
	r.withBroker(func(ctx context.Context, b *broker) {
		yes := true
		for _, name := range []string{"disk", "second", "gone"} {
			k := keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256, Exportable: &yes}
			k.Policy = &release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: p.policyFor("x-ms-attestation-type", "sevsnpvm")}
			if _, err := b.keys.Create(ctx, keyvault.DefaultVault, name, k); err != nil {
				t.Fatal(err)
			}
		}
		native = r.makeKey(ctx, b, "native", keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256}, []byte("package release\n\nallow if input.evidence.type == \"simulated-snp\"\n"))
	})
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	p = newPassport(t, r)
	c := &confused{p, t}
	t.Run("tokens", func(t *testing.T) { c.t = t; c.tokens(native) })
	t.Run("keys", func(t *testing.T) { c.t = t; c.recipients() })
	t.Run("hosts", func(t *testing.T) { c.t = t; c.hosts() })
	t.Run("state", func(t *testing.T) { c.t = t; c.state() })
	t.Run("chips", func(t *testing.T) { c.t = t; c.chips(denied) })
}

type confused struct {
	*passport
	t *testing.T
}

// refused wants a refusal of a release with that reason.
func (c *confused) refused(what, host, path, bearer string, body any, want release.Reason) {
	c.t.Helper()
	status, answer := c.json(host, http.MethodPost, path+"/release", bearer, body)
	if status != int(want.Class()) || !strings.Contains(answer, `"`+string(want)+`"`) || strings.Contains(answer, "ciphertext") {
		c.t.Errorf("%s: %d %s, want %s", what, status, answer, want)
	}
}

func (c *confused) fresh() string {
	c.t.Helper()
	token, answer := c.proven("", snpsim.Chip{}, "JSON", c.keys("", encrypts))
	if token == "" {
		c.t.Fatal(answer)
	}
	return token
}

func (c *confused) tokens(native string) {
	target := c.fresh()
	status, answer := c.json("", http.MethodPost, "/keys/disk/release", c.bearer, map[string]any{"target": target, "enc": "RSA_AES_KEY_WRAP_256"})
	var out struct{ Value string }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || status != http.StatusOK {
		c.t.Fatalf("%d %s", status, answer)
	}
	h := c.machine(c.t, teeKinds()[0], simulate.Options{})
	c.attestedRole(c.t, "reads", "Key Vault Crypto Service Release User", "/", []byte("package release\n\nallow if input.evidence.type == \"simulated-snp\"\n"))
	attested, _, err := c.attestedToken(c.t, h)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.get(c.t, h, native); err != nil {
		c.t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		token string
		want  release.Reason
	}{
		"access token":   {c.bearer, release.Reason(attest.CheckTokenIssuer)},
		"attested token": {attested, release.Reason(attest.CheckTokenIssuer)},
		"release answer": {out.Value, release.Reason(attest.CheckTokenIssuer)},
		"no signature":   {target[:strings.LastIndexByte(target, '.')+1], release.Reason(attest.CheckSignature)},
		"two dots more":  {target + "..", release.Reason(attest.CheckMalformed)},
		"padded":         {target + "==", release.Reason(attest.CheckMalformed)},
		"line break":     {target[:9] + "\n" + target[9:], release.Reason(attest.CheckMalformed)},
	} {
		c.refused(name+" as target", "", "/keys/disk", c.bearer, map[string]any{"target": tt.token}, tt.want)
	}
	for name, token := range map[string]string{"attestation token": target, "release answer": out.Value} {
		c.refused(name+" as bearer", "", "/keys/disk", token, map[string]any{"target": target}, release.ReasonUnauthorized)
		form := url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"x"}, "client_assertion": {token},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "scope": {c.url + "/.default"},
		}
		if status, answer := c.to("", http.MethodPost, "/"+c.trust.Deployment+"/oauth2/v2.0/token", "", "application/x-www-form-urlencoded", []byte(form.Encode())); status < 400 {
			c.t.Errorf("%s as client assertion: %d %s", name, status, answer)
		}
	}
	// A machine's own right, on another token: its release is a machine's, once.
	body := map[string]any{"target": c.fresh(), "enc": "RSA_AES_KEY_WRAP_256"}
	status, answer = c.json("", http.MethodPost, "/keys/second/release", attested, body)
	if status != http.StatusOK {
		c.t.Fatalf("attested: %d %s", status, answer)
	}
	if _, rec := c.opened([]byte(answer)); rec.Caller.Kind != "machine" || rec.Decision != receipt.Allow {
		c.t.Errorf("%+v", rec.Caller)
	}
	c.refused("the same bytes of another caller", "", "/keys/second", c.bearer, body, release.ReasonTokenReplayed)
	if n := c.race(c.fresh(), 16); n != 1 {
		c.t.Errorf("one token released a key %d times at once", n)
	}
}

// race asks with one token in many different bodies at once, and says how many got a key.
func (c *confused) race(target string, n int) (got int64) {
	var all sync.WaitGroup
	var ok atomic.Int64
	for i := range n {
		all.Go(func() {
			status, _ := c.json("", http.MethodPost, "/keys/disk/release", c.bearer, map[string]any{"target": target, "nonce": fmt.Sprint(i)})
			if status == http.StatusOK {
				ok.Add(1)
			}
		})
	}
	all.Wait()
	return ok.Load()
}

// recipients tries keys that the hardware did not vouch for, or not as a recipient.
func (c *confused) recipients() {
	mine := c.keys("", encrypts)
	for name, tt := range map[string]struct {
		dataType, data string
		want           release.Reason // of the release, "" where there is no token
	}{
		"binary":              {"Binary", mine, release.Reason(attest.CheckNoRecipient)},
		"nested":              {"JSON", `{"x-ms-runtime":` + mine + `,"keys":[]}`, release.Reason(attest.CheckNoRecipient)},
		"for the machine":     {"JSON", strings.Replace(mine, "target", "HCLAkPub", 1), release.Reason(attest.CheckNoRecipient)},
		"for signatures":      {"JSON", c.keys("", `"use":"sig"`), release.Reason(attest.CheckNoRecipient)},
		"other case":          {"JSON", strings.Replace(mine, `"keys"`, `"Keys"`, 1), release.Reason(attest.CheckNoRecipient)},
		"private":             {"JSON", c.keys("", encrypts+`,"d":"AA"`), release.Reason(attest.CheckNoRecipient)},
		"exponent 3":          {"JSON", strings.Replace(mine, "AQAB", "Aw", 1), "recipient_key_invalid"},
		"exponent, long":      {"JSON", strings.Replace(mine, "AQAB", "AAEAAQ", 1), "recipient_key_invalid"},
		"modulus, long":       {"JSON", strings.Replace(mine, `"n":"`, `"n":"AAAA`, 1), "recipient_key_invalid"},
		"weak first":          {"JSON", c.keys(`{"kty":"RSA","use":"enc","e":"AQAB","n":"AQAB"},`, encrypts), "recipient_key_invalid"},
		"duplicate":           {"JSON", c.keys("", encrypts+`,"n":"AQAB"`), ""},
		"text":                {"JSON", `"keys"`, ""},
		"of our protocol":     {"JSON", strings.Replace(mine, "{", `{"purpose":"release",`, 1), ""},
		"of our tokens":       {"Binary", strings.Replace(mine, "{", `{"purpose":"token",`, 1), ""},
		"of our protocol, \\": {"Binary", strings.Replace(mine, "{", `{"purpos\u0065":"r\u0065lease",`, 1), ""},
	} {
		token, answer := c.proven("", snpsim.Chip{}, tt.dataType, tt.data)
		if (token == "") != (tt.want == "") {
			c.t.Errorf("%s: %s", name, answer)
		} else if token != "" {
			c.refused(name, "", "/keys/disk", c.bearer, map[string]any{"target": token}, tt.want)
		}
	}
}

// hosts tries the names that a broker might be confused by.
func (c *confused) hosts() {
	_, port, _ := strings.Cut(strings.TrimPrefix(c.url, "https://"), ":")
	own := strings.TrimPrefix(c.url, "https://")
	body := map[string]any{"target": c.fresh()}
	for name, tt := range map[string]struct {
		host string
		want release.Reason
	}{
		"another vault":         {"other.kv.example:" + port, release.ReasonNotFound},
		"the suffix alone":      {"kv.example:" + port, release.ReasonBadRequest},
		"without the dot":       {"otherkv.example:" + port, release.ReasonBadRequest},
		"two labels":            {"a.b.kv.example:" + port, release.ReasonBadRequest},
		"a dot at the end":      {"default.kv.example.:" + port, release.ReasonBadRequest},
		"more behind":           {"default.kv.example:" + port + ".evil.example", release.ReasonBadRequest},
		"another port":          {"default.kv.example:1", release.ReasonBadRequest},
		"no port":               {"default.kv.example", release.ReasonBadRequest},
		"below the host itself": {"default." + own, release.ReasonBadRequest},
	} {
		c.refused(name, tt.host, "/keys/disk", c.bearer, body, tt.want)
	}
	vault := "default.kv.example:" + port
	token, answer := c.proven(vault, snpsim.Chip{}, "JSON", c.keys("", encrypts))
	if token == "" {
		c.t.Fatal(answer)
	}
	c.refused("a token under a vault's host", "", "/keys/disk", c.bearer, map[string]any{"target": token}, release.Reason(attest.CheckTokenIssuer))
	c.refused("a token under a vault's host, there", vault, "/keys/disk", c.bearer, map[string]any{"target": token}, release.Reason(attest.CheckTokenIssuer))
	// The default vault has two names. A token is used up under both.
	body["enc"] = "RSA_AES_KEY_WRAP_256"
	if status, answer := c.json(strings.ToUpper(vault), http.MethodPost, "/KEYS/Disk/RELEASE", c.bearer, body); status != http.StatusOK {
		c.t.Errorf("%d %s", status, answer)
	}
	body["nonce"] = "another"
	c.refused("under the other name", own, "/keys/disk", c.bearer, body, release.ReasonTokenReplayed)
}

// state tries keys that are gone, new versions and machines that were denied.
func (c *confused) state() {
	target := c.fresh()
	body := map[string]any{"target": target, "enc": "RSA_AES_KEY_WRAP_256"}
	if status, answer := c.json("", http.MethodPost, "/keys/gone/release", c.bearer, body); status != http.StatusOK {
		c.t.Fatalf("%d %s", status, answer)
	}
	if status, answer := c.to("", http.MethodDelete, "/keys/GONE?api-version=7.4", c.bearer, "", nil); status != http.StatusOK {
		c.t.Fatalf("%d %s", status, answer)
	}
	c.refused("deleted", "", "/keys/gone", c.bearer, body, release.ReasonNotFound)
	if status, answer := c.to("", http.MethodPost, "/deletedkeys/gone/recover?api-version=7.4", c.bearer, "", nil); status != http.StatusOK {
		c.t.Fatalf("%d %s", status, answer)
	}
	body["nonce"] = "later"
	c.refused("recovered", "", "/keys/gone", c.bearer, body, release.ReasonTokenReplayed)
	if status, answer := c.to("", http.MethodPost, "/keys/gone/rotate?api-version=7.4", c.bearer, "", nil); status != http.StatusOK {
		c.t.Fatalf("%d %s", status, answer)
	}
	if status, answer := c.json("", http.MethodPost, "/keys/gone/release", c.bearer, body); status != http.StatusOK {
		c.t.Errorf("a version that the token has not released: %d %s", status, answer)
	}
	token := c.fresh()
	var machine struct {
		Own struct{ Machine string } `json:"x-openskr"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil || json.Unmarshal(payload, &machine) != nil {
		c.t.Fatal(err)
	}
	c.operator(c.t, "machine", "deny", machine.Own.Machine)
	c.refused("denied", "", "/keys/disk", c.bearer, map[string]any{"target": token}, release.ReasonMachineDenied)
	c.refused("denied, with a token since", "", "/keys/disk", c.bearer, map[string]any{"target": c.fresh()}, release.ReasonMachineDenied)
}

// chips denies the chip of a machine that has a token already: the token tells no chip,
// and releases nothing all the same.
func (c *confused) chips(denied string) {
	other := snpsim.Chip{Name: "other"}
	token, answer := c.proven("", other, "JSON", c.keys("", encrypts))
	if token == "" {
		c.t.Fatal(answer)
	}
	sim, err := snpsim.New(c.seed)
	if err != nil {
		c.t.Fatal(err)
	}
	report, err := sim.Report([64]byte{}, other)
	if err != nil {
		c.t.Fatal(err)
	}
	write(c.t, denied, fmt.Appendf(nil, "%X # chip id\n", report[416:480]))
	if err := c.child.Process.Signal(syscall.SIGHUP); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) { // another process
		if again, _ := c.proven("", other, "JSON", c.keys("", encrypts)); again == "" {
			break
		}
	}
	c.refused("a chip denied since", "", "/keys/second", c.bearer, map[string]any{"target": token}, release.Reason(attest.CheckTokenExpired))
}
