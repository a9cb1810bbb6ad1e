package skr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
)

// rig is what answers are made of. signer signs, target receives, released is released.
type rig struct {
	ca                       *authority
	signer, target, released *rsa.PrivateKey
	sidecar                  *Sidecar
}

func newRig(t testing.TB) *rig {
	r := &rig{ca: newAuthority(t), signer: newRSA(t, 2048), target: newRSA(t, 2048), released: newRSA(t, 2048)}
	r.sidecar = &Sidecar{AKV: vault, Roots: r.ca.pool}
	return r
}

func (r *rig) answer(t testing.TB) answer {
	return newAnswer(t, r.ca, r.signer, &r.target.PublicKey, r.released)
}

func (r *rig) reissue(t testing.TB, a *answer, change func(*x509.Certificate)) {
	a.x5c[0] = r.ca.leaf(t, a.signer.Public(), change)
}

func TestSidecarTakes(t *testing.T) {
	r := newRig(t)
	ec := newEC(t)
	point := must(ec.PublicKey.Bytes())(t)
	for name, change := range map[string]func(*answer){
		"CKM_RSA_AES_KEY_WRAP": func(*answer) {},
		"RSA_AES_KEY_WRAP_256": func(a *answer) { a.enc, a.oaep = "RSA_AES_KEY_WRAP_256", crypto.SHA256 },
		"RSA_AES_KEY_WRAP_384": func(a *answer) { a.enc, a.oaep = "RSA_AES_KEY_WRAP_384", crypto.SHA384 },
		"an EC key": func(a *answer) {
			a.kty, a.plain = "EC-HSM", must(x509.MarshalPKCS8PrivateKey(ec))(t)
			a.public = map[string]string{"crv": "P-256", "x": b64u(point[1:33]), "y": b64u(point[33:])}
		},
		"an oct key":           func(a *answer) { a.kty, a.plain, a.public = "oct-HSM", []byte("0123456789abcdef"), nil },
		"a leaf without EKU":   func(a *answer) { r.reissue(t, a, func(c *x509.Certificate) { c.ExtKeyUsage = nil }) },
		"a trusted last but 1": func(a *answer) { a.x5c = []*x509.Certificate{a.x5c[0], r.ca.intermediate, r.ca.intermediate} },
	} {
		a := r.answer(t)
		change(&a)
		out, err := r.sidecar.Open(a.jws(t), r.target)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		switch key := out.PrivateKey.(type) {
		case *rsa.PrivateKey:
			if !key.Equal(r.released) {
				t.Errorf("%s: another RSA key", name)
			}
		case *ecdsa.PrivateKey:
			if !key.Equal(ec) {
				t.Errorf("%s: another EC key", name)
			}
		default:
			if !bytes.Equal(out.Secret, a.plain) {
				t.Errorf("%s: another secret", name)
			}
		}
		if name == "a trusted last but 1" {
			continue // the sidecar takes what Azure never sends
		}
		if err := out.CheckShape(requestKID, "7.4", targetKID); err != nil {
			t.Errorf("%s: shape: %v", name, err)
		}
	}
	ps := r.answer(t)
	ps.alg = "PS256"
	if _, err := r.sidecar.Open(ps.jws(t), r.target); err != nil {
		t.Errorf("PS256: %v", err)
	}
}

// refusals is one change each, and a part of why the sidecar refuses it.
func (r *rig) refusals(t *testing.T) map[string]struct {
	change func(*answer)
	why    string
} {
	large := newRSA(t, 3072)
	ec := newEC(t)
	sec1 := must(x509.MarshalECPrivateKey(ec))(t)
	pad := func(part string) func(*answer) {
		return func(a *answer) { a.encode = encodePadded(part) }
	}
	leaf := func(change func(*x509.Certificate)) func(*answer) {
		return func(a *answer) { r.reissue(t, a, change) }
	}
	return map[string]struct {
		change func(*answer)
		why    string
	}{
		"x5c without root":     {func(a *answer) { a.x5c = a.x5c[:2] }, "unknown authority"},
		"x5c of the leaf":      {func(a *answer) { a.x5c = a.x5c[:1] }, "unknown authority"},
		"no x5c":               {func(a *answer) { a.x5c = nil }, "no x5c"},
		"x5c root first":       {func(a *answer) { a.x5c[0], a.x5c[2] = a.x5c[2], a.x5c[0] }, "RSA only"},
		"an untrusted root":    {func(a *answer) { r.distrust(t, a) }, "unknown authority"},
		"an EC leaf":           {func(a *answer) { a.signer, a.alg = ec, "ES256"; r.reissue(t, a, nil) }, "RSA only"},
		"SAN without port":     {leaf(func(c *x509.Certificate) { c.DNSNames = []string{"openskr.local"} }), "not openskr.local:8443"},
		"an expired leaf":      {leaf(func(c *x509.Certificate) { c.NotAfter = year(2021) }), "expired"},
		"a leaf not yet valid": {leaf(func(c *x509.Certificate) { c.NotBefore = year(2099) }), "not yet valid"},
		"SAN of another port":  {leaf(func(c *x509.Certificate) { c.DNSNames = []string{"openskr.local:443"} }), "not openskr.local:8443"},
		"no serverAuth": {leaf(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "incompatible key usage"},
		"a padded header":     {pad("header"), "segment 0"},
		"a padded payload":    {pad("payload"), "segment 1"},
		"a padded signature":  {pad("signature"), "segment 2"},
		"a padded key_hsm":    {pad("key_hsm"), "key_hsm"},
		"a padded ciphertext": {func(a *answer) { a.kty, a.plain = "oct-HSM", make([]byte, 16); pad("ciphertext")(a) }, "ciphertext"},
		"standard alphabet": {func(a *answer) {
			a.encode = func(_ string, b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }
		}, "base64"},
		"SHA-256 for SHA-1":   {func(a *answer) { a.oaep = crypto.SHA256 }, "OAEP"},
		"SHA-1 for SHA-256":   {func(a *answer) { a.enc = "RSA_AES_KEY_WRAP_256" }, "OAEP"},
		"SHA-256 for SHA-384": {func(a *answer) { a.enc, a.oaep = "RSA_AES_KEY_WRAP_384", crypto.SHA256 }, "OAEP"},
		"an unknown enc":      {func(a *answer) { a.enc = "RSA_AES_KEY_WRAP_512" }, "none of the three"},
		"a 3072-bit target":   {func(a *answer) { a.target = &large.PublicKey }, "OAEP"},
		"another's target":    {func(a *answer) { a.target = &r.signer.PublicKey }, "OAEP"},
		"a tampered payload":  {func(a *answer) { a.tamper = func(p []byte) []byte { return append(p, ' ') } }, "signature"},
		"another's signature": {func(a *answer) { a.signer = r.released }, "signature"},
		"a line break":        {func(a *answer) { a.encode = encodeBroken("signature") }, "line break"},
		"alg none":            {func(a *answer) { a.alg = "none" }, "alg"},
		"alg HS256":           {func(a *answer) { a.alg = "HS256" }, "alg"},
		"alg of another hash": {func(a *answer) { a.alg = "RS384" }, "signature"},
		"alg of another kind": {func(a *answer) { a.members = map[string]any{"alg": "PS256"} }, "signature"},
		"crit":                {func(a *answer) { a.members = map[string]any{"crit": []string{"b64"}} }, "crit"},
		"an unknown kty":      {func(a *answer) { a.kty = "OKP" }, "kty"},
		"PKCS #1 for PKCS #8": {func(a *answer) { a.plain = x509.MarshalPKCS1PrivateKey(r.released) }, "released"},
		"SEC 1 for PKCS #8":   {func(a *answer) { a.kty, a.plain = "EC-HSM", sec1 }, "released"},
		"raw for PKCS #8":     {func(a *answer) { a.plain = []byte("0123456789abcdef") }, "released"},
	}
}

func TestSidecarRefuses(t *testing.T) {
	r := newRig(t)
	for name, c := range r.refusals(t) {
		a := r.answer(t)
		c.change(&a)
		_, err := r.sidecar.Open(a.jws(t), r.target)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: refused for another reason: %v", name, err)
		}
	}
	right := r.answer(t).jws(t)
	for _, bad := range []string{"", "a.b", "e30.e30.e30.e30", "e30.e30.", right + ".e30"} {
		if _, err := r.sidecar.Open(bad, r.target); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

// distrust has an authority that nobody knows issue the leaf.
func (r *rig) distrust(t testing.TB, a *answer) {
	other := newAuthority(t)
	a.x5c = []*x509.Certificate{other.leaf(t, a.signer.Public(), nil), other.intermediate, other.root}
}

// A leaf for the bare host is enough when the vault is on 443.
func TestSidecarWithoutPort(t *testing.T) {
	r := newRig(t)
	a := r.answer(t)
	r.reissue(t, &a, func(c *x509.Certificate) { c.DNSNames = []string{"openskr.local"} })
	bare := &Sidecar{AKV: "openskr.local", Roots: r.ca.pool}
	if _, err := bare.Open(a.jws(t), r.target); err != nil {
		t.Error(err)
	}
}

func FuzzAnswer(f *testing.F) {
	r := newRig(f)
	f.Add(r.answer(f).jws(f))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, answer string) {
		if out, err := r.sidecar.Open(answer, r.target); err == nil && out.PrivateKey == nil && out.Secret == nil {
			t.Error("opened, and nothing in it")
		}
	})
}

func FuzzPayload(f *testing.F) {
	r := newRig(f)
	f.Add(r.answer(f).payload(f))
	f.Add([]byte(`{"response":{"key":{"key":{"key_hsm":"e30"}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, c1, c2, err := openPayload(raw); err == nil && (len(c1) != targetSize || len(c2) == 0) {
			t.Errorf("C1 of %d bytes, C2 of %d", len(c1), len(c2))
		}
	})
}
