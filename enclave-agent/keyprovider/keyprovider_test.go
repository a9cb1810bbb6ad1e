package keyprovider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

func all(names ...string) (out []keyprovider.Key) {
	for _, n := range names {
		out = append(out, keyprovider.Key{URL: base + n})
	}
	return out
}

// annotation as it stands in an image.
type annotation struct {
	V       int    `json:"v"`
	KID     string `json:"kid"`
	Alg     string `json:"alg"`
	Wrapped string `json:"wrapped"`
}

func TestRoundTrip(t *testing.T) {
	r := newReleaser(t)
	inside := client(t, serve(t, keyprovider.Config{Agent: r, Keys: all("rsa", "ec", "oct")}))
	builder := client(t, serve(t, keyprovider.Config{Keys: []keyprovider.Key{
		{URL: base + "rsa", Public: jwk(t, "rsa")}, {Public: shown(t, "ec")},
	}}))
	for name, c := range map[string]struct {
		key, alg string
		outside  bool
	}{
		"RSA, public half":   {"rsa", "RSA-OAEP-256+A256GCM", true},
		"RSA, its version":   {"rsa/" + version, "RSA-OAEP-256+A256GCM", true},
		"EC, public half":    {"ec/" + version, "HPKE-P256+A256GCM", true},
		"EC, its latest":     {"ec", "HPKE-P256+A256GCM", true},
		"RSA, released":      {"rsa", "RSA-OAEP-256+A256GCM", false},
		"EC, released":       {"ec", "HPKE-P256+A256GCM", false},
		"oct, released":      {"oct", "A256GCM", false},
		"oct, released, 2nd": {"oct/" + version, "A256GCM", false},
	} {
		t.Run(name, func(t *testing.T) {
			with := inside
			if c.outside {
				with = builder
			}
			for _, options := range [][]byte{[]byte(`{"symkey":"AAAA"}`), bytes.Repeat([]byte{7}, keyprovider.MaxOptions)} {
				b, err := with.wrap(t, base+c.key, options)
				if err != nil {
					t.Fatal(err)
				}
				var a annotation
				name, _, _ := strings.Cut(c.key, "/")
				if err := json.Unmarshal(b, &a); err != nil || a.V != 1 || a.Alg != c.alg || a.KID != base+name+"/"+version {
					t.Fatalf("annotation %.200s, %v", b, err)
				}
				got, err := inside.unwrap(t, b)
				if err != nil || !bytes.Equal(got, options) {
					t.Fatalf("%.60q, %v", got, err)
				}
			}
		})
	}
	if !r.closed() {
		t.Error("a released key was kept")
	}
}

// Every layer has a ciphertext of its own, though options and key be the same.
func TestWrapIsRandom(t *testing.T) {
	c := client(t, serve(t, keyprovider.Config{Agent: newReleaser(t), Keys: all("rsa", "ec", "oct")}))
	for _, name := range []string{"rsa", "ec", "oct"} {
		one, err1 := c.wrap(t, base+name, []byte("options"))
		two, err2 := c.wrap(t, base+name, []byte("options"))
		if err := errors.Join(err1, err2); err != nil || bytes.Equal(one, two) {
			t.Errorf("%s: same annotation twice, %v", name, err)
		}
	}
}

// An annotation of which anything was changed does not open.
func TestChangedAnnotation(t *testing.T) {
	r := newReleaser(t)
	r.keys["twin"], r.raw["twin"] = r.keys["oct"], r.raw["oct"]
	c := client(t, serve(t, keyprovider.Config{Agent: r, Keys: all("rsa", "ec", "oct", "twin")}))
	for _, name := range []string{"rsa", "ec", "oct"} {
		b, err := c.wrap(t, base+name, []byte("options"))
		if err != nil {
			t.Fatal(err)
		}
		var good annotation
		if err := json.Unmarshal(b, &good); err != nil {
			t.Fatal(err)
		}
		for what, change := range map[string]func(*annotation){
			"kid of another key":     func(a *annotation) { a.KID = base + "twin/" + version },
			"alg of another":         func(a *annotation) { a.Alg = "A256KWP" },
			"first byte":             func(a *annotation) { a.Wrapped = flip(a.Wrapped, 0) },
			"last byte":              func(a *annotation) { a.Wrapped = flip(a.Wrapped, len(a.Wrapped)-2) },
			"cut":                    func(a *annotation) { a.Wrapped = a.Wrapped[:len(a.Wrapped)-4] },
			"cut to nothing":         func(a *annotation) { a.Wrapped = "" },
			"a line break":           func(a *annotation) { a.Wrapped += "\n" },
			"padding":                func(a *annotation) { a.Wrapped += "=" },
			"version of annotations": func(a *annotation) { a.V = 2 },
		} {
			bad := good
			change(&bad)
			_, err := c.unwrap(t, encode(t, bad))
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if !r.closed() {
		t.Error("a released key was kept")
	}
}

func flip(s string, i int) string {
	c := byte('A')
	if s[i] == c {
		c = 'Q'
	}
	return s[:i] + string(c) + s[i+1:]
}

// What an image or a caller names is not asked for unless the configuration has it.
func TestAllowList(t *testing.T) {
	r := newReleaser(t)
	old := strings.Repeat("f", 32)
	c := client(t, serve(t, keyprovider.Config{Agent: r, Keys: []keyprovider.Key{{URL: base + "oct/" + version}, {URL: base + "rsa"}}}))
	for _, url := range []string{
		base + "ec", base + "ec/" + version, base + "oct", base + "oct/" + old, base + "oc", base + "rs", base + "rsa2/" + version,
		base + "rsa/" + version + "/", base + "rsa/../ec", base + "rsa/" + version + "?x", base + "rsa/x",
		"https://evil.example/keys/rsa/" + version, "http://vault.example/keys/rsa/" + version, "https://vault.example@evil.example/keys/rsa", "", "Enabled",
	} {
		if _, err := c.wrap(t, url, []byte("options")); status.Code(err) != codes.PermissionDenied {
			t.Errorf("wrap, %q: %v", url, err)
		}
		_, err := c.unwrap(t, encode(t, annotation{1, url, "A256GCM", "AAAA"}))
		if code := status.Code(err); code != codes.PermissionDenied && code != codes.InvalidArgument {
			t.Errorf("unwrap, %q: %v", url, err)
		}
	}
	if len(r.asked) > 0 {
		t.Errorf("asked for %q", r.asked)
	}
}

// A machine that builds images has public halves, and opens nothing.
func TestBuilderOpensNothing(t *testing.T) {
	c := client(t, serve(t, keyprovider.Config{Keys: []keyprovider.Key{{URL: base + "rsa", Public: jwk(t, "rsa")}}}))
	b, err := c.wrap(t, base+"rsa", []byte("options"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.unwrap(t, b); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%q, %v", out, err)
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	r := newReleaser(t)
	c := client(t, serve(t, keyprovider.Config{Agent: r, Keys: all("p384", "oct128", "garbage")}))
	for _, name := range []string{"p384", "oct128", "garbage"} {
		if _, err := c.wrap(t, base+name, []byte("options")); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(r.given) != 3 || !r.closed() {
		t.Error("a released key was kept")
	}
}

// A caller is told cause and next step; the log of the service the rest.
func TestErrors(t *testing.T) {
	const detail = "inner-detail"
	for want, err := range map[string]error{
		"FailedPrecondition machine approve":     fmt.Errorf("%s: %w", detail, &agent.Refused{Status: 403, Reason: "machine_pending"}),
		"PermissionDenied policy_denied":         fmt.Errorf("%s: %w", detail, &agent.Refused{Status: 403, Reason: "policy_denied"}),
		"DataLoss (signature)":                   &agent.Invalid{Check: "signature", Err: errors.New(detail)},
		"Unavailable no broker":                  fmt.Errorf("%w: %s", agent.ErrUnreachable, detail),
		"FailedPrecondition openskr-agent":       fmt.Errorf("%w: %s", agent.ErrNoHardware, detail),
		"FailedPrecondition configuration":       fmt.Errorf("%w: %s", agent.ErrConfig, detail),
		"DeadlineExceeded not released in time":  fmt.Errorf("%w: %s", context.DeadlineExceeded, detail),
		"Internal see the log of this service":   errors.New(detail),
		"Unavailable see the log of this servic": fmt.Errorf("%w: %w", agent.ErrUnreachable, errors.New(detail)),
	} {
		var told []string
		r := newReleaser(t)
		r.fail = err
		c := client(t, serve(t, keyprovider.Config{Agent: r, Keys: all("oct"), Notice: func(s string) { told = append(told, s) }}))
		_, got := c.wrap(t, base+"oct", []byte("options"))
		code, text, _ := strings.Cut(want, " ")
		if s := status.Convert(got); s.Code().String() != code || !strings.Contains(s.Message(), text) || strings.Contains(s.Message(), detail) {
			t.Errorf("%v: told the caller %v", err, got)
		}
		if !slices.Equal(told, []string{err.Error()}) {
			t.Errorf("%v: the log has %q", err, told)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	public := func(from, to string) keyprovider.Key {
		b := bytes.Replace(jwk(t, "rsa"), []byte(from), []byte(to), 1)
		return keyprovider.Key{URL: base + "rsa", Public: b}
	}
	ec := func(from, to string) keyprovider.Key {
		return keyprovider.Key{URL: base + "ec", Public: bytes.Replace(jwk(t, "ec"), []byte(from), []byte(to), 1)}
	}
	for what, keys := range map[string][]keyprovider.Key{
		"no key":               nil,
		"public half too long": {{Public: append(shown(t, "rsa"), bytes.Repeat([]byte(" "), keyprovider.MaxPublicKey)...)}},
		"too many":             make([]keyprovider.Key, 65),
		"no URL":               {{}},
		"http":                 {{URL: "http://vault.example/keys/a"}},
		"upper case host":      {{URL: "https://Vault.example/keys/a"}},
		"a secret":             {{URL: "https://vault.example/secrets/a"}},
		"a path before":        {{URL: "https://vault.example/x/keys/a"}},
		"a slash after":        {{URL: base + "a/"}},
		"a short version":      {{URL: base + "a/0123"}},
		"neither":              {{Public: []byte(`{}`)}},
		"private, shown":       {{Public: bytes.Replace(shown(t, "rsa"), []byte(`"e":`), []byte(`"d":"AAAA","e":`), 1)}},
		"empty public half":    {{URL: base + "rsa", Public: []byte{}}},
		"public half of other": {{URL: base + "ec", Public: jwk(t, "rsa")}},
		"of another version":   {{URL: base + "rsa/" + strings.Repeat("f", 32), Public: jwk(t, "rsa")}},
		"kid without version":  {public("/"+version, "")},
		"private member":       {public(`"e":`, `"d":"AAAA","e":`)},
		"exponent 3":           {public("AQAB", "Aw")},
		"short modulus":        {public(b64(rsaKey.N.Bytes()), b64(rsaKey.N.Bytes()[:128]))},
		"even modulus":         {public(b64(rsaKey.N.Bytes()), b64(append(rsaKey.N.Bytes()[:255:255], 4)))},
		"oct":                  {public(`"RSA"`, `"oct"`)},
		"P-384":                {ec("P-256", "P-384")},
		"no y":                 {ec(`"y":`, `"x5u":`)},
		"short x":              {ec(`"x":"`, `"x":"AAAA`)},
		"another x":            {ec(`"crv":"P-256"`, `"crv":"P-256","use":"sig"`)},
	} {
		if _, err := keyprovider.New(keyprovider.Config{Agent: newReleaser(t), Keys: keys}); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
	x := ecKey.X.FillBytes(make([]byte, 32))
	wrong := append([]byte{}, x...)
	wrong[31] ^= 1
	if _, err := keyprovider.New(keyprovider.Config{Keys: []keyprovider.Key{ec(b64(x), b64(wrong))}}); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("point off the curve: %v", err)
	}
	// The same 64 bytes, cut at another place.
	p, err := ecKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	shifted := keyprovider.Key{URL: base + "ec"}
	shifted.Public = bytes.Replace(bytes.Replace(jwk(t, "ec"), []byte(b64(p[1:33])), []byte(b64(p[1:32])), 1), []byte(b64(p[33:])), []byte(b64(p[32:])), 1)
	if _, err := keyprovider.New(keyprovider.Config{Keys: []keyprovider.Key{shifted}}); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("coordinates of 31 and 33 bytes: %v", err)
	}
	if _, err := keyprovider.New(keyprovider.Config{Keys: all("rsa")}); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("neither agent nor public half: %v", err)
	}
}
