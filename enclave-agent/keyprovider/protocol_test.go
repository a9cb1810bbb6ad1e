package keyprovider

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

const kid = "https://vault.example/keys/a/0123456789abcdef0123456789abcdef"

func std(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// What ocicrypt 1.2 sends.
func wrapDoc(key, options string) string {
	return fmt.Sprintf(`{"op":"keywrap","keywrapparams":{"ec":{"Parameters":{"openskr":["%s"],"pubkeys":["AAAA"]},"DecryptConfig":{"Parameters":null}},"optsdata":"%s"},"keyunwrapparams":{"dc":null,"annotation":null}}`, std(key), options)
}

func unwrapDoc(annotation string) string {
	return fmt.Sprintf(`{"op":"keyunwrap","keywrapparams":{"ec":null,"optsdata":null},"keyunwrapparams":{"dc":{"Parameters":{"openskr":[""],"privkeys":["Q0FOQVJZ"]}},"annotation":"%s"}}`, std(annotation))
}

const goodAnnotation = `{"v":1,"kid":"` + kid + `","alg":"A256GCM","wrapped":"AAAA"}`

func parseWrap(b []byte) (*input, string, error) {
	in, err := parseInput(b)
	if err != nil {
		return nil, "", err
	}
	url, err := in.wraps()
	return in, url, err
}

func parseUnwrap(b []byte) (*annotation, error) {
	in, err := parseInput(b)
	if err != nil {
		return nil, err
	}
	return in.unwraps()
}

func TestParseWrap(t *testing.T) {
	good := wrapDoc("https://vault.example/keys/a", std("options"))
	in, url, err := parseWrap([]byte(good))
	if err != nil || url != "https://vault.example/keys/a" || string(in.Wrap.Options) != "options" {
		t.Fatalf("%q, %v", url, err)
	}
	largest := wrapDoc("k", base64.StdEncoding.EncodeToString(make([]byte, MaxOptions)))
	if _, _, err := parseWrap([]byte(largest)); err != nil {
		t.Error(err)
	}
	for what, in := range map[string]string{
		"nothing":           "",
		"op of the other":   unwrapDoc(goodAnnotation),
		"other op":          strings.Replace(good, "keywrap\"", "keyunwrap\"", 1),
		"op re-cased":       strings.Replace(good, `"op"`, `"Op"`, 1),
		"op twice":          strings.Replace(good, `"op":"keywrap"`, `"op":"keyunwrap","op":"keywrap"`, 1),
		"unknown member":    strings.Replace(good, `"op"`, `"x":1,"op"`, 1),
		"no configuration":  strings.Replace(good, good[strings.Index(good, `{"Parameters":{`):strings.Index(good, `,"optsdata"`)], "null", 1),
		"other provider":    strings.Replace(good, `"openskr"`, `"acme"`, 1),
		"two keys":          strings.Replace(good, `"openskr":[`, `"openskr":["AAAA",`, 1),
		"no options":        wrapDoc("k", ""),
		"options too long":  wrapDoc("k", base64.StdEncoding.EncodeToString(make([]byte, MaxOptions+1))),
		"annotation too":    strings.Replace(good, `"annotation":null`, `"annotation":"AAAA"`, 1),
		"text after it":     good + "x",
		"document too long": good + strings.Repeat(" ", MaxRequest),
	} {
		if _, _, err := parseWrap([]byte(in)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func TestParseUnwrap(t *testing.T) {
	a, err := parseUnwrap([]byte(unwrapDoc(goodAnnotation)))
	if err != nil || a.KID != kid || a.Alg != algOct {
		t.Fatalf("%+v, %v", a, err)
	}
	for what, in := range map[string]string{
		"nothing":          "",
		"op of the other":  wrapDoc("k", "AAAA"),
		"options too":      strings.Replace(unwrapDoc(goodAnnotation), `"optsdata":null`, `"optsdata":"AAAA"`, 1),
		"no annotation":    unwrapDoc(""),
		"not JSON":         unwrapDoc("x"),
		"version 0":        unwrapDoc(strings.Replace(goodAnnotation, `"v":1,`, "", 1)),
		"unknown member":   unwrapDoc(strings.Replace(goodAnnotation, `"v":1,`, `"v":1,"kms":"https://evil.example",`, 1)),
		"kid twice":        unwrapDoc(strings.Replace(goodAnnotation, `"v":1,`, `"v":1,"kid":"x",`, 1)),
		"kid of no key":    unwrapDoc(strings.Replace(goodAnnotation, "/keys/", "/secrets/", 1)),
		"kid, no version":  unwrapDoc(strings.Replace(goodAnnotation, "/0123456789abcdef0123456789abcdef", "", 1)),
		"annotation twice": unwrapDoc(goodAnnotation + goodAnnotation),
	} {
		_, err := parseUnwrap([]byte(in))
		if code, _ := explain(err); err == nil || code != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The caller's keys for other schemes are in no error.
func TestErrorsQuoteNoKey(t *testing.T) {
	for _, in := range []string{
		strings.Replace(unwrapDoc(goodAnnotation), `"Q0FOQVJZ"`, `Q0FOQVJZ`, 1),
		strings.Replace(unwrapDoc(goodAnnotation), `"dc":{`, `"dc":{"Q0FOQVJZ":1,"Q0FOQVJZ":1,`, 1),
	} {
		if _, err := parseUnwrap([]byte(in)); err == nil || strings.Contains(err.Error(), "Q0FOQVJZ") {
			t.Errorf("%.20s…: %v", in, err)
		}
	}
}

func FuzzParseInput(f *testing.F) {
	f.Add([]byte(wrapDoc("https://vault.example/keys/a", std("options"))))
	f.Add([]byte(unwrapDoc(goodAnnotation)))
	s := service(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in, _, err := parseWrap(b)
		if err == nil && (len(in.Wrap.Options) == 0 || len(in.Wrap.Options) > MaxOptions) {
			t.Errorf("options of %d bytes", len(in.Wrap.Options))
		}
		a, err2 := parseUnwrap(b)
		if err2 == nil && s.allows(a.KID) && !strings.HasPrefix(a.KID, "https://vault.example/keys/a/") {
			t.Errorf("%q is allowed", a.KID)
		}
		if err == nil && err2 == nil {
			t.Error("one request to wrap and to unwrap")
		}
	})
}

// No annotation opens with a key that it was not made with.
func FuzzParseAnnotation(f *testing.F) {
	f.Add([]byte(goodAnnotation))
	f.Add([]byte(strings.Replace(goodAnnotation, "AAAA", strings.Repeat("AAAA", 100), 1)))
	r := &recipient{kid: kid, alg: algOct, material: secret(f, bytes.Repeat([]byte{1}, aesKey))}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnnotation(b)
		if err != nil {
			return
		}
		if out, err := r.open(a); err == nil {
			t.Errorf("opened: %q", out)
		}
	})
}

func FuzzParsePublic(f *testing.F) {
	f.Add([]byte(`{"kid":"` + kid + `","kty":"RSA","key_ops":[],"n":"AAAA","e":"AQAB"}`))
	f.Add([]byte(`{"kid":"` + kid + `","kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parsePublic(b); err == nil && (r.rsa == nil) == (r.ec == nil) {
			t.Errorf("%+v", r)
		}
	})
}
