package ageplugin

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	agent "github.com/openskr/openskr/enclave-agent"
)

const otherVersion = "fedcba9876543210fedcba9876543210"

var sixteen = []byte("sixteen bytes ok")

func wrapTo(t testing.TB, r *Recipient) *age.Stanza {
	t.Helper()
	s, err := r.Wrap(sixteen)
	if err != nil {
		t.Fatal(err)
	}
	return s[0]
}

func TestUnwrap(t *testing.T) {
	ec, rs, later := newEC(t), newRSA(t), newEC(t)
	v := &vault{t: t, keys: map[string]crypto.Signer{kid: ec, url + "/" + otherVersion: later, url + "2/" + version: rs}}
	first, second := wrapTo(t, newRecipient(t, kid, ec)), wrapTo(t, newRecipient(t, url+"/"+otherVersion, later))
	third := wrapTo(t, newRecipient(t, url+"2/"+version, rs))
	gone := wrapTo(t, newRecipient(t, url+"/"+strings.Repeat("0", 32), ec))
	native := &age.Stanza{Type: "X25519", Args: []string{"x"}, Body: []byte("y")}
	for name, c := range map[string]struct {
		url     string
		stanzas []*age.Stanza
		asked   []string
	}{
		"one":                   {url, []*age.Stanza{first}, []string{kid}},
		"RSA":                   {url + "2", []*age.Stanza{third}, []string{url + "2/" + version}},
		"among others":          {url, []*age.Stanza{native, third, first}, []string{kid}},
		"first that opens":      {url, []*age.Stanza{second, first}, []string{url + "/" + otherVersion}},
		"this version":          {kid, []*age.Stanza{second, first}, []string{kid}},
		"past a refused one":    {url, []*age.Stanza{gone, first}, []string{url + "/" + strings.Repeat("0", 32), kid}},
		"past one not ours":     {url, []*age.Stanza{relabel(second, version), first}, []string{kid, kid}},
		"as often as permitted": {url, []*age.Stanza{gone, gone, gone, first}, nil},
	} {
		v.asked = nil
		id, err := NewIdentity(t.Context(), v.release, c.url)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := id.Unwrap(c.stanzas); err != nil || !bytes.Equal(key, sixteen) {
			t.Errorf("%s: %q, %v", name, key, err)
		}
		if c.asked != nil && !slices.Equal(v.asked, c.asked) {
			t.Errorf("%s: asked for %q", name, v.asked)
		}
	}
}

// relabel is a stanza under the name of another version.
func relabel(s *age.Stanza, version string) *age.Stanza {
	return &age.Stanza{Type: s.Type, Args: []string{s.Args[0], s.Args[1], version}, Body: s.Body}
}

func TestUnwrapRefuses(t *testing.T) {
	ec, rs := newEC(t), newRSA(t)
	good, rsaOne := wrapTo(t, newRecipient(t, kid, ec)), wrapTo(t, newRecipient(t, url+"2/"+version, rs))
	change := func(of *age.Stanza, f func(*age.Stanza)) *age.Stanza {
		s := &age.Stanza{Type: of.Type, Args: slices.Clone(of.Args), Body: bytes.Clone(of.Body)}
		f(s)
		return s
	}
	to := newRecipient(t, url+"2/"+version, rs)
	short, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to.RSA(), sixteen[:15], to.key.info())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		url    string
		stanza *age.Stanza
		want   error
		asks   bool
	}{
		"not for this key":     {url + "3", good, age.ErrIncorrectIdentity, false},
		"not for this version": {url + "/" + otherVersion, good, age.ErrIncorrectIdentity, false},
		"no stanza of ours":    {url, change(good, func(s *age.Stanza) { s.Type = "X25519" }), age.ErrIncorrectIdentity, false},
		"encapsulated key":     {url, change(good, func(s *age.Stanza) { s.Body[10] ^= 1 }), ErrFile, true},
		"ciphertext":           {url, change(good, func(s *age.Stanza) { s.Body[70] ^= 1 }), ErrFile, true},
		"authentication":       {url, change(good, func(s *age.Stanza) { s.Body[96] ^= 1 }), ErrFile, true},
		"RSA ciphertext":       {url + "2", change(rsaOne, func(s *age.Stanza) { s.Body[96] ^= 1 }), ErrFile, true},
		"of another version":   {url, relabel(wrapTo(t, newRecipient(t, url+"/"+otherVersion, ec)), version), ErrFile, true},
		"of another key":       {url, change(wrapTo(t, newRecipient(t, url+"3/"+version, ec)), func(s *age.Stanza) { s.Args[1] = good.Args[1] }), ErrFile, true},
		"RSA of another name":  {url + "2", change(wrapTo(t, newRecipient(t, url+"3/"+version, rs)), func(s *age.Stanza) { s.Args[1] = rsaOne.Args[1] }), ErrFile, true},
		"RSA of a short key":   {url + "2", change(rsaOne, func(s *age.Stanza) { s.Body = short }), ErrFile, true},
		"cut":                  {url, change(good, func(s *age.Stanza) { s.Body = s.Body[:96] }), ErrFile, false},
		"longer":               {url, change(good, func(s *age.Stanza) { s.Body = append(s.Body, 0) }), ErrFile, false},
		"RSA too small":        {url, change(rsaOne, func(s *age.Stanza) { s.Body = s.Body[:128] }), ErrFile, false},
		"kind":                 {url, change(good, func(s *age.Stanza) { s.Args[0] = "oct" }), ErrFile, false},
		"one argument more":    {url, change(good, func(s *age.Stanza) { s.Args = append(s.Args, "x") }), ErrFile, false},
		"no arguments":         {url, change(good, func(s *age.Stanza) { s.Args = nil }), ErrFile, false},
		"no version":           {url, change(good, func(s *age.Stanza) { s.Args[2] = "" }), ErrFile, false},
		"a path":               {url, change(good, func(s *age.Stanza) { s.Args[2] = "../../../evil" }), ErrFile, false},
	} {
		v := &vault{t: t, keys: map[string]crypto.Signer{kid: ec, url + "2/" + version: rs}}
		id, err := NewIdentity(t.Context(), v.release, c.url)
		if err != nil {
			t.Fatal(err)
		}
		if key, err := id.Unwrap([]*age.Stanza{c.stanza}); key != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", name, key, err)
		}
		if asks := len(v.asked) > 0; asks != c.asks {
			t.Errorf("%s: asked for %q", name, v.asked)
		}
	}
}

func TestUnwrapStops(t *testing.T) {
	ec := newEC(t)
	other := wrapTo(t, newRecipient(t, url+"/"+otherVersion, ec))
	good := wrapTo(t, newRecipient(t, kid, ec))
	v := &vault{t: t, keys: map[string]crypto.Signer{kid: ec}}
	id, err := NewIdentity(t.Context(), v.release, url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.Unwrap(slices.Repeat([]*age.Stanza{good}, maxStanzas+1)); !errors.Is(err, ErrFile) || len(v.asked) > 0 {
		t.Errorf("many stanzas: %v, asked %q", err, v.asked)
	}
	if _, err := id.Unwrap([]*age.Stanza{other}); agent.ExitCode(err) != agent.ExitRefused || !strings.Contains(err.Error(), "policy_denied") {
		t.Errorf("refused: %v", err)
	}
	v.asked, v.err = nil, errNetwork
	if _, err := id.Unwrap([]*age.Stanza{other, good}); agent.ExitCode(err) != agent.ExitUnreachable || len(v.asked) != 1 {
		t.Errorf("no broker: %v, asked %q", err, v.asked)
	}
	v.kty = "RSA"
	if _, err := id.Unwrap([]*age.Stanza{good}); err == nil {
		t.Error("a key of another kind was used")
	}
	if _, err := NewIdentity(t.Context(), v.release, "https://vault.example/keys"); !errors.Is(err, agent.ErrConfig) {
		t.Error(err)
	}
}

func FuzzStanza(f *testing.F) {
	good := wrapTo(f, newRecipient(f, kid, newEC(f)))
	f.Add(strings.Join(good.Args, " "), good.Body)
	f.Add("RSA x "+version, make([]byte, 256))
	f.Add("", []byte(nil))
	v := &vault{t: f}
	id, err := NewIdentity(f.Context(), v.release, url)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, args string, body []byte) {
		v.asked = nil
		key, err := id.Unwrap([]*age.Stanza{{Type: stanzaType, Args: strings.Fields(args), Body: body}})
		if key != nil || err == nil {
			t.Fatalf("%q: %x, %v", args, key, err)
		}
		for _, asked := range v.asked {
			if base, _ := strings.CutSuffix(asked, asked[len(url):]); base != url || len(asked) != len(kid) {
				t.Fatalf("%q asks for %q", args, asked)
			}
		}
	})
}
