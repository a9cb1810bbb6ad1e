package keyvault

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		`{"KTY":"EC","Tags":{"A":"b"},"zz":{"a":1},"release_policy":{"Data":"AA","x":2}}`: `{"kty":"EC","tags":{"A":"b"},"release_policy":{"data":"AA"}}`,
		`{}`:           `{}`,
		`{"kty":null}`: `{"kty":null}`,
	} {
		got, err := fold([]byte(in), shapeCreate())
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzFold: what fold gives is read by the strict decoder as by the standard
// library, so that no two readers of a body disagree.
func FuzzFold(f *testing.F) {
	for _, s := range []string{
		`{"kty":"EC","Attributes":{"enabled":true}}`, `{"release_policy":{"data":"AA"},"x":[{"y":1}]}`, `{"relea\u017fe_policy":1}`,
		`{"tags":{"a":"b","A":"c"}}`, `{"key":{"kty":"oct","k":"AA"},"Hsm":true}`,
		`{"target":"a.b.c","enc":"RSA_AES_KEY_WRAP_256"}`, `{"target":"a","Target":"b"}`, `{"Target":"a","nonce":"n","more":{"A":1,"a":2}}`, `{"target":null}`,
		`{"ALG":"A256GCM","value":"AA==","Iv":"+-","aad":null,"tag":""}`, `{"alg":"ES256","digest":"AA","Value":"AA","valeu":1}`, `{"count":1e2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		flatReadsOnce(t, b)
		for _, s := range []*shape{shapeCreate(), shapeImport(), shapeUpdate(), shapeOperation(), shapeRandom()} {
			exact, err := fold(b, s)
			if err != nil {
				continue
			}
			again, err := fold(exact, s)
			if err != nil || string(again) != string(exact) {
				t.Fatalf("folded twice: %q, then %q, %v", exact, again, err)
			}
			operationReadsOnce(t, exact)
			var ours createKey
			var std struct {
				Kty        string
				Attributes struct{ Exportable *bool }
			}
			if route.Decode(exact, len(exact), &ours) == nil {
				if err := json.Unmarshal(exact, &std); err != nil || std.Kty != ours.Kty {
					t.Fatalf("%q: %v", exact, err)
				}
				if ours.Attributes != nil && (std.Attributes.Exportable == nil) != (ours.Attributes.Exportable == nil) {
					t.Fatalf("%q", exact)
				}
			}
		}
	})
}

// flatReadsOnce: a flat body that is taken as it is is what folding makes of it.
func flatReadsOnce(t *testing.T, b []byte) {
	t.Helper()
	var asIs, folded releaseKey
	quick := decode(b, shapeRelease(), &asIs)
	s := shapeRelease()
	s.flat = false
	slow := decode(b, s, &folded)
	if (quick == nil) != (slow == nil) || release.ReasonOf(quick) != release.ReasonOf(slow) || asIs != folded {
		t.Fatalf("%q: %+v, %v; folded: %+v, %v", b, asIs, quick, folded, slow)
	}
}

func operationReadsOnce(t *testing.T, exact []byte) {
	t.Helper()
	var ours keyOperation
	if route.Decode(exact, len(exact), &ours) != nil {
		return
	}
	var std keyOperation
	if err := json.Unmarshal(exact, &std); err != nil || std != ours {
		t.Fatalf("%q: %+v and %+v, %v", exact, ours, std, err)
	}
	in, err := ours.operation("decrypt")
	if err == nil && len(in.Value) != len(strings.TrimRight(ours.Value, "="))*3/4 {
		t.Fatalf("%q gives %d bytes", ours.Value, len(in.Value))
	}
}

func FuzzAnyBase64(f *testing.F) {
	f.Add("e30")
	f.Add("-_==")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := anyBase64(s)
		if err == nil && len(b) != len(strings.TrimRight(s, "="))*3/4 {
			t.Fatalf("%q gives %d bytes", s, len(b))
		}
	})
}

func FuzzPageToken(f *testing.F) {
	d := &door{Config{PageKey: [32]byte{1}}}
	c := call("keys/list")
	good := strings.SplitN(d.nextLink(c, "/keys", 5, "k3"), "skiptoken=", 2)[1]
	good, _, _ = strings.Cut(good, "&")
	if got, err := d.parseToken(c, good); err != nil || got != "k3" {
		f.Fatalf("%q, %v", got, err)
	}
	f.Add(good)
	f.Add(good[:20] + "\n" + good[20:])
	f.Add("AA")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := d.parseToken(c, s); err == nil && s != good {
			t.Fatalf("forged %q", s)
		}
	})
}
