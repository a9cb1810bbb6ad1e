package skr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// shape is an answer as Azure's was captured (wire.md §3.2), its members that no client
// reads included.
type shape struct {
	Request struct {
		APIVersion string  `json:"api-version"`
		Enc        string  `json:"enc"`
		KID        string  `json:"kid"`
		Nonce      *string `json:"nonce"`
	} `json:"request"`
	Response struct {
		Key struct {
			Key           map[string]json.RawMessage `json:"key"`
			Attributes    shapeAttributes            `json:"attributes"`
			Tags          map[string]string          `json:"tags"`
			ReleasePolicy struct {
				Data      string `json:"data"`
				Immutable *bool  `json:"immutable"`
			} `json:"release_policy"`
		} `json:"key"`
	} `json:"response"`
}

type shapeAttributes struct {
	Enabled         bool   `json:"enabled"`
	Created         int64  `json:"created"`
	Updated         int64  `json:"updated"`
	RecoveryLevel   string `json:"recoveryLevel"`
	RecoverableDays *int   `json:"recoverableDays"`
	Exportable      bool   `json:"exportable"`
}

// versioned is a key identifier with a version.
var versioned = regexp.MustCompile(`^https://[^/]+/keys/[0-9a-zA-Z-]{1,127}/[0-9a-f]{32}$`)

// CheckShape compares what neither client reads, but Azure sends, with the answer that
// was captured: header, echoed request, attributes, envelope, and that the public part
// belongs to the released key. requestKID is the key's URL as requested, targetKID the
// kid of the key in the token that the answer is encrypted to.
func (r *Released) CheckShape(requestKID, apiVersion, targetKID string) error {
	var s shape
	if err := json.Unmarshal(r.Payload, &s); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	var nonce string
	if s.Request.Nonce != nil {
		nonce = *s.Request.Nonce
	}
	key := s.Response.Key
	return errors.Join(
		checkHeader(r.Answer),
		same("request.kid", s.Request.KID, requestKID),
		same("request.api-version", s.Request.APIVersion, apiVersion),
		check(nonce == "" || nonce == r.Nonce, "request.nonce is another than was sent"),
		check(versioned.MatchString(r.KID), "key.kid %q has no version", r.KID),
		check(key.Attributes.Enabled && key.Attributes.Exportable, "attributes: a released key is enabled and exportable"),
		check(key.Attributes.Created > 0 && key.Attributes.Updated > 0, "attributes: created and updated are there"),
		check(key.Attributes.RecoveryLevel != "" && key.Attributes.RecoverableDays != nil, "attributes: recoveryLevel and recoverableDays are there"),
		check(key.Tags != nil, "tags is there, empty or not"),
		check(key.ReleasePolicy.Data != "" && key.ReleasePolicy.Immutable != nil, "release_policy has data and immutable"),
		r.checkKey(key.Key),
		r.checkEnvelope(key.Key["key_hsm"], targetKID),
	)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func same(what, got, want string) error {
	return check(got == want, "%s is %q, not %q", what, got, want)
}

// checkHeader checks the members that name the leaf, and that x5c goes up to a root.
func checkHeader(answer string) error {
	head, _, _ := strings.Cut(answer, ".")
	b, err := decodeSegment(head)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	var h struct {
		Alg, KID, Typ, X5T string
		X5TS256            string `json:"x5t#S256"`
		X5C                []string
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	chain, err := parseX5C(h.X5C)
	if err != nil {
		return err
	}
	one, two := sha1.Sum(chain[0].Raw), sha256.Sum256(chain[0].Raw)
	errs := []error{
		same("alg", h.Alg, "RS256"), same("typ", h.Typ, "JWT"),
		same("kid", h.KID, strings.ToUpper(hex.EncodeToString(one[:]))),
		same("x5t", h.X5T, base64.RawURLEncoding.EncodeToString(one[:])),
		same("x5t#S256", h.X5TS256, base64.RawURLEncoding.EncodeToString(two[:])),
	}
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)] // the last is the root, its own
		errs = append(errs, checkIssued(i, c, issuer))
	}
	return errors.Join(errs...)
}

func checkIssued(i int, c, issuer *x509.Certificate) error {
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("x5c[%d] is not signed by what follows it: %w", i, err)
	}
	return nil
}

// checkKey checks that the JWK has the public members of its type, those of the key
// released, and no private one.
func (r *Released) checkKey(key map[string]json.RawMessage) error {
	for _, private := range []string{"d", "dp", "dq", "qi", "p", "q", "k"} {
		if _, ok := key[private]; ok {
			return fmt.Errorf("the key has the private member %q", private)
		}
	}
	var ops []string
	if err := json.Unmarshal(key["key_ops"], &ops); err != nil {
		return fmt.Errorf("key_ops: %w", err)
	}
	want := map[string][]byte{"n": nil, "e": nil, "x": nil, "y": nil}
	switch k := r.PrivateKey.(type) {
	case *rsa.PrivateKey:
		want["n"], want["e"] = k.N.Bytes(), big.NewInt(int64(k.E)).Bytes()
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return err
		}
		half := len(point) / 2
		want["x"], want["y"] = point[1:1+half], point[1+half:]
	case crypto.PrivateKey:
		return fmt.Errorf("released a %T", k)
	}
	for member, value := range want {
		raw, ok := key[member]
		if !ok && value == nil {
			continue
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("key member %q: %w", member, err)
		}
		got, err := decodeSegment(s)
		if err != nil || value == nil || !bytes.Equal(got, value) {
			return fmt.Errorf("key member %q is not that of the released %s key", member, r.Kty)
		}
	}
	return nil
}

func (r *Released) checkEnvelope(keyHSM json.RawMessage, targetKID string) error {
	var s string
	if err := json.Unmarshal(keyHSM, &s); err != nil {
		return fmt.Errorf("key_hsm: %w", err)
	}
	b, err := decodeSegment(s)
	if err != nil {
		return fmt.Errorf("key_hsm: %w", err)
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("key_hsm: %w", err)
	}
	return errors.Join(
		same("key_hsm schema_version", e.SchemaVersion, "1.0"),
		same("key_hsm header.alg", e.Header.Alg, "dir"),
		same("key_hsm header.enc", e.Header.Enc, r.Enc),
		same("key_hsm header.kid", e.Header.KID, targetKID),
	)
}
