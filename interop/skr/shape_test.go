package skr

import (
	"strings"
	"testing"
)

// What no client reads and Azure sends: one change each, and a part of the complaint.
func TestShapeRefuses(t *testing.T) {
	r := newRig(t)
	type path = func(...string) map[string]any
	key := []string{"response", "key", "key"}
	attributes := []string{"response", "key", "attributes"}
	set := func(at []string, member string, value any) func(*answer) {
		return func(a *answer) { a.edit = func(p path) { p(at...)[member] = value } }
	}
	drop := func(member string, at ...string) func(*answer) {
		return func(a *answer) { a.edit = func(p path) { delete(p(at...), member) } }
	}
	header := func(member string, value any) func(*answer) {
		return func(a *answer) { a.members = map[string]any{member: value} }
	}
	for name, c := range map[string]struct {
		change func(*answer)
		why    string
	}{
		"PS256":                   {func(a *answer) { a.alg = "PS256" }, "alg"},
		"typ":                     {header("typ", "JOSE"), "typ"},
		"kid in lower case":       {header("kid", "ab"), "kid"},
		"x5t":                     {header("x5t", "AA"), "x5t"},
		"x5t#S256":                {header("x5t#S256", "AA"), "x5t#S256"},
		"x5c out of order":        {func(a *answer) { a.x5c = append(a.x5c, r.ca.intermediate) }, "x5c[2]"},
		"request.kid":             {set([]string{"request"}, "kid", keyID), "request.kid"},
		"request.api-version":     {set([]string{"request"}, "api-version", "7.3"), "api-version"},
		"a nonce never sent":      {set([]string{"request"}, "nonce", "x"), "nonce"},
		"a kid without version":   {set(key, "kid", requestKID), "no version"},
		"not exportable":          {set(attributes, "exportable", false), "exportable"},
		"no created":              {drop("created", attributes...), "created"},
		"created in text":         {set(attributes, "created", "1"), "created"},
		"updated with a fraction": {set(attributes, "updated", 1.5), "updated"},
		"no recoverableDays":      {drop("recoverableDays", attributes...), "recoverableDays"},
		"no tags":                 {drop("tags", "response", "key"), "tags"},
		"no policy":               {drop("release_policy", "response", "key"), "release_policy"},
		"no policy data":          {drop("data", "response", "key", "release_policy"), "release_policy"},
		"no immutable":            {drop("immutable", "response", "key", "release_policy"), "immutable"},
		"a private member":        {set(key, "dp", "AA"), "private"},
		"key_ops in one string":   {set(key, "key_ops", "encrypt"), "key_ops"},
		"another modulus":         {set(key, "n", b64u(r.signer.N.Bytes())), `"n"`},
		"a leading zero":          {set(key, "n", b64u(append([]byte{0}, r.released.N.Bytes()...))), `"n"`},
		"no exponent":             {drop("e", key...), `"e"`},
		"an EC member":            {set(key, "x", ""), `"x"`},
	} {
		a := r.answer(t)
		c.change(&a)
		out, err := r.sidecar.Open(a.jws(t), r.target)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := out.CheckShape(requestKID, "7.4", targetKID); err == nil {
			t.Errorf("%s: taken", name)
		} else if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: another complaint: %v", name, err)
		}
	}
	a := r.answer(t)
	out, err := r.sidecar.Open(a.jws(t), r.target)
	if err != nil {
		t.Fatal(err)
	}
	if out.CheckShape(requestKID, "7.4", "HCLAkPub") == nil {
		t.Error("another target's kid was taken")
	}
	out.Enc = "RSA_AES_KEY_WRAP_256"
	if out.CheckShape(requestKID, "7.4", targetKID) == nil {
		t.Error("an envelope of another enc was taken")
	}
}
