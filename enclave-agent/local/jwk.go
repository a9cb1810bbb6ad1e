package local

import (
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// errMaterial says that a released key is not of its type. It has no detail: that would
// be of the key.
var errMaterial = errors.New("the released key is not what its type says")

// quote stands for " where a JWK is itself a JSON string.
const quote = `\"`

// release writes {"key":"JWK"}, as the SKR sidecar answers: the JWK is a string. It
// writes from the bytes of the key into one buffer, which the caller clears: big
// integers would leave copies behind that nobody can.
func release(kty string, material []byte) ([]byte, error) {
	if len(material) == 0 {
		return nil, errMaterial
	}
	w := &writer{make([]byte, 0, 4*len(material)+512)} // RSA: base64 of it, 7 names
	w.text(`{"key":"{`)
	var err error
	switch strings.TrimSuffix(kty, "-HSM") {
	case "oct":
		w.member("k", material)
		w.name("kty", "oct")
	case "RSA":
		err = w.rsa(material)
	case "EC":
		err = w.ec(material)
	default:
		err = fmt.Errorf("a key of type %.16q has no JWK here", kty)
	}
	if err != nil {
		clear(w.b)
		return nil, err
	}
	w.text(`}"}`)
	return w.b, nil
}

// writer appends the members of one object.
type writer struct{ b []byte }

func (w *writer) text(s string) { w.b = append(w.b, s...) }

// begin writes "name":" and what comes before it.
func (w *writer) begin(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.text(",")
	}
	w.text(quote + name + quote + ":" + quote)
}

func (w *writer) name(name, value string) {
	w.begin(name)
	w.text(value + quote)
}

// member writes bytes as base64url without padding (RFC 7518 §2).
func (w *writer) member(name string, value []byte) {
	w.begin(name)
	w.b = base64.RawURLEncoding.AppendEncode(w.b, value)
	w.text(quote)
}

// rsa writes RFC 7518 §6.3 from PKCS #8 (RFC 8017 §A.1.2).
func (w *writer) rsa(material []byte) error {
	_, key, ok := private(material, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1})
	var version int64
	var seq cryptobyte.String
	if !ok || !key.ReadASN1(&seq, tag.SEQUENCE) || !key.Empty() || !seq.ReadASN1Integer(&version) || version != 0 {
		return errMaterial
	}
	names := []string{"n", "e", "d", "p", "q", "dp", "dq", "qi"} // as they stand in PKCS #1
	parts := map[string][]byte{}
	for _, name := range names {
		var part []byte
		if !seq.ReadASN1Integer(&part) || len(part) == 0 {
			return errMaterial
		}
		parts[name] = part
	}
	if !seq.Empty() {
		return errMaterial
	}
	for _, name := range []string{"d", "dp", "dq", "e"} { // in the sidecar's order
		w.member(name, parts[name])
	}
	w.name("kty", "RSA")
	for _, name := range []string{"n", "p", "q", "qi"} {
		w.member(name, parts[name])
	}
	return nil
}

// curve is one that JOSE and the sidecar know.
type curve struct {
	name string
	oid  asn1.ObjectIdentifier
	size int // of a coordinate in bytes
}

func curves() []curve {
	return []curve{
		{"P-256", asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, 32},
		{"P-384", asn1.ObjectIdentifier{1, 3, 132, 0, 34}, 48},
		{"P-521", asn1.ObjectIdentifier{1, 3, 132, 0, 35}, 66},
		{"secp256k1", asn1.ObjectIdentifier{1, 3, 132, 0, 10}, 32}, // RFC 8812; Key Vault's P-256K
	}
}

// ec writes RFC 7518 §6.2 from PKCS #8 (RFC 5915 §3).
func (w *writer) ec(material []byte) error {
	params, key, ok := private(material, asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
	var oid asn1.ObjectIdentifier
	if !ok || !params.ReadASN1ObjectIdentifier(&oid) || !params.Empty() {
		return errMaterial
	}
	for _, c := range curves() {
		if c.oid.Equal(oid) {
			return w.point(c, key)
		}
	}
	return errors.New("a key on this curve has no JWK here")
}

func (w *writer) point(c curve, key cryptobyte.String) error {
	var version int64
	var seq, d, bits cryptobyte.String
	var public []byte
	if !key.ReadASN1(&seq, tag.SEQUENCE) || !key.Empty() || !seq.ReadASN1Integer(&version) || version != 1 ||
		!seq.ReadASN1(&d, tag.OCTET_STRING) || len(d) != c.size ||
		!seq.SkipOptionalASN1(tag.Tag(0).Constructed().ContextSpecific()) ||
		!seq.ReadASN1(&bits, tag.Tag(1).Constructed().ContextSpecific()) || !seq.Empty() ||
		!bits.ReadASN1BitStringAsBytes(&public) || !bits.Empty() || len(public) != 1+2*c.size || public[0] != 4 {
		return errMaterial
	}
	w.name("crv", c.name)
	w.member("d", d)
	w.name("kty", "EC")
	w.member("x", public[1:1+c.size])
	w.member("y", public[1+c.size:])
	return nil
}

// private takes PKCS #8 (RFC 5208 §5) apart: the parameters of the algorithm, which must
// be oid, and the key.
func private(der []byte, oid asn1.ObjectIdentifier) (params, key cryptobyte.String, ok bool) {
	in := cryptobyte.String(der)
	var seq, algorithm cryptobyte.String
	var version int64
	var got asn1.ObjectIdentifier
	ok = in.ReadASN1(&seq, tag.SEQUENCE) && in.Empty() && seq.ReadASN1Integer(&version) && version == 0 &&
		seq.ReadASN1(&algorithm, tag.SEQUENCE) && algorithm.ReadASN1ObjectIdentifier(&got) && got.Equal(oid) &&
		seq.ReadASN1(&key, tag.OCTET_STRING) && seq.Empty()
	return algorithm, key, ok
}
