package skr

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
)

// padded is the sidecar's alphabet for all of its attestation request: base64url with
// padding, where the rest of the protocol has none (wire.md §5.2).
var padded = base64.URLEncoding

// data is a runtimeData or initTimeData member.
type data struct {
	Data     string `json:"data"`
	DataType string `json:"dataType"`
}

// attestRequest is the body of SevSnpVM. InitTimeData is always there, empty or not, and
// Nonce is a JSON number up to 2⁶⁴−1.
type attestRequest struct {
	Report       string `json:"report"`
	RuntimeData  data   `json:"runtimeData"`
	InitTimeData data   `json:"initTimeData"`
	Nonce        uint64 `json:"nonce"`
}

// snpEvidence is what report encodes (wire.md §5.3).
type snpEvidence struct {
	SnpReport     string
	VcekCertChain string
	Endorsements  string `json:",omitempty"`
}

// jwk is the target key in the runtime data; the order of members is the sidecar's
// JWK library's.
type jwk struct {
	E      string `json:"e"`
	KeyOps any    `json:"key_ops"`
	KID    string `json:"kid"`
	Kty    string `json:"kty"`
	N      string `json:"n"`
}

func (s *Sidecar) target() (*rsa.PrivateKey, error) {
	if s.Target != nil {
		return s.Target, nil
	}
	return rsa.GenerateKey(rand.Reader, 8*targetSize)
}

// RuntimeData is the JSON whose hash the report binds: {"keys":[the target]}.
func (s *Sidecar) RuntimeData(target *rsa.PublicKey) ([]byte, error) {
	key := jwk{E: publicInteger(big.NewInt(int64(target.E))), KeyOps: []string{"encrypt"}, Kty: "RSA", N: publicInteger(target.N)}
	if s.KeyOpsString {
		key.KeyOps = "encrypt"
	}
	key.KID = thumbprint(key.E, key.N)
	return json.Marshal(map[string][]jwk{"keys": {key}})
}

// Attest asks the attestation service for a token over a target key. It gives the token
// and the nonce that was sent, in decimal: too large for a float64 on purpose.
func (s *Sidecar) Attest(ctx context.Context, target *rsa.PublicKey) (token, nonce string, err error) {
	runtime, err := s.RuntimeData(target)
	if err != nil {
		return "", "", err
	}
	report, chain, err := s.Evidence(runtime)
	if err != nil {
		return "", "", fmt.Errorf("SNP report: %w", err)
	}
	evidence, err := s.evidence(report, chain)
	if err != nil {
		return "", "", err
	}
	number := freshNonce()
	body, err := json.Marshal(attestRequest{
		Report:      padded.EncodeToString(evidence),
		RuntimeData: data{Data: padded.EncodeToString(runtime), DataType: "JSON"},
		Nonce:       number,
	})
	if err != nil {
		return "", "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	url := "https://" + s.MAA + "/attest/SevSnpVM?api-version=2020-10-01"
	if err := post(ctx, s.HTTP, "attest", url, "", body, &answer); err != nil {
		return "", "", err
	}
	return answer.Token, strconv.FormatUint(number, 10), nil
}

func (s *Sidecar) evidence(report, chain []byte) ([]byte, error) {
	out := snpEvidence{SnpReport: padded.EncodeToString(report), VcekCertChain: padded.EncodeToString(chain)}
	if s.UVM != nil {
		b, err := json.Marshal(map[string][]string{"Uvm": {padded.EncodeToString(s.UVM)}})
		if err != nil {
			return nil, err
		}
		out.Endorsements = padded.EncodeToString(b)
	}
	return json.Marshal(out)
}

// freshNonce is random with the highest and the lowest bit set, which no float64 holds.
func freshNonce() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return binary.BigEndian.Uint64(b[:]) | 1<<63 | 1
}

// publicInteger is a Base64urlUInt of RFC 7518 §2.
func publicInteger(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }

// thumbprint is the SHA-256 thumbprint of RFC 7638 of an RSA key.
func thumbprint(e, n string) string {
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
