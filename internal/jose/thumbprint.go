package jose

import (
	"crypto/ecdsa"
	"crypto/sha1" //nolint:gosec // RFC 7515 §4.1.7 names certificates by it
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Thumbprints gives x5t and x5t#S256 of the header, nil where absent: which of the
// certificates that the verifier knows already the signer used. They prove nothing.
// Either alphabet and any padding will do: clients send all of them (RFC 7515
// §4.1.7 has one).
func (f *Foreign) Thumbprints() (short, long []byte, err error) {
	if short, err = thumbprint(f.x5t, sha1.Size); err != nil {
		return nil, nil, refuse("x5t: %w", err)
	}
	if long, err = thumbprint(f.x5ts, sha256.Size); err != nil {
		return nil, nil, refuse("x5t#S256: %w", err)
	}
	return short, long, nil
}

func thumbprint(v jsontext.Value, size int) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return nil, err
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	b, err := canonical(s)
	if err == nil && len(b) != size {
		err = base64.CorruptInputError(len(b))
	}
	return b, err
}

// ECKey is a P-256 key as a published key set has it (RFC 7518 §6.2).
type ECKey struct {
	KID string `json:"kid"`
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

// ECKeySet is a published set of them.
type ECKeySet struct {
	Keys []ECKey `json:"keys"`
}

// Publish makes the key set of k, by kid.
func (k Keys) Publish() (*ECKeySet, error) {
	out := &ECKeySet{Keys: []ECKey{}}
	for _, kid := range slices.Sorted(maps.Keys(k)) {
		x, y, err := point(k[kid])
		if err != nil {
			return nil, err
		}
		out.Keys = append(out.Keys, ECKey{KID: kid, Kty: "EC", Use: "sig", Alg: "ES256", Crv: "P-256", X: x, Y: y})
	}
	return out, nil
}

func point(pub *ecdsa.PublicKey) (x, y string, err error) {
	b, err := pub.Bytes()
	if err != nil {
		return "", "", refuse("key: %w", err)
	}
	n := len(b) / 2
	return b64.EncodeToString(b[1 : 1+n]), b64.EncodeToString(b[1+n:]), nil
}
