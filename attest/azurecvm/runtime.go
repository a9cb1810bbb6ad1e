package azurecvm

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/internal/strict"
)

// runtime is the JSON that the paravisor made at boot. Its members beyond those named
// here are the paravisor's business and may be new; none may stand twice.
type runtime struct {
	keys     []jwk
	config   map[string]any // vm-configuration
	userData string         // hex
	vmID     string         // GUID, upper case
}

type jwk struct {
	kid, kty, e, n string
	ops            []string
}

// akID is the kid of the vTPM's attestation key.
const akID = "HCLAkPub"

// maxKeys bounds the keys; real ones name two.
const maxKeys = 8

// parseRuntime reads the runtime JSON. Two keys of one name are refused, since two
// readers could take one each.
func parseRuntime(b []byte) (*runtime, error) {
	var doc map[string]any
	if err := strict.Unmarshal(b, format.MaxHCL, &doc); err != nil {
		return nil, fmt.Errorf("runtime JSON: %w", err)
	}
	keys, ok := doc["keys"].([]any)
	if !ok || len(keys) > maxKeys {
		return nil, errors.New("runtime JSON: keys missing or too many")
	}
	r := &runtime{}
	for _, k := range keys {
		key, err := parseKey(k)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(r.keys, func(other jwk) bool { return other.kid == key.kid }) {
			return nil, fmt.Errorf("runtime JSON: two keys named %.32q", key.kid)
		}
		r.keys = append(r.keys, key)
	}
	return r, r.configuration(doc)
}

func parseKey(v any) (jwk, error) {
	o, _ := v.(map[string]any)
	var k jwk
	for name, to := range map[string]*string{"kid": &k.kid, "kty": &k.kty, "e": &k.e, "n": &k.n} {
		s, ok := o[name].(string)
		if _, given := o[name]; !ok && (given || name[0] == 'k') { // a key that is not RSA has neither e nor n
			return k, fmt.Errorf("runtime JSON: a key without %s", name)
		}
		*to = s
	}
	ops, ok := o["key_ops"].([]any)
	if !ok {
		return k, errors.New("runtime JSON: a key without key_ops")
	}
	for _, op := range ops {
		s, ok := op.(string)
		if !ok {
			return k, errors.New("runtime JSON: key_ops holds no text")
		}
		k.ops = append(k.ops, s)
	}
	return k, nil
}

// configuration reads what is not a key.
func (r *runtime) configuration(doc map[string]any) error {
	config, ok := doc["vm-configuration"].(map[string]any)
	if !ok {
		return errors.New("runtime JSON: vm-configuration missing")
	}
	r.config = config
	if v, ok := config["vmUniqueId"]; ok {
		s, _ := v.(string)
		if r.vmID = strings.ToUpper(s); !isGUID(r.vmID) {
			return errors.New("runtime JSON: vmUniqueId is not a GUID")
		}
	}
	if v, ok := doc["user-data"]; ok {
		s, ok := v.(string)
		if _, err := hex.DecodeString(s); err != nil || !ok {
			return errors.New("runtime JSON: user-data is not hex")
		}
		r.userData = s
	}
	return nil
}

// isGUID says whether s is 8-4-4-4-12 upper-case hex digits.
func isGUID(s string) bool {
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash && c != '-' || !dash && !strings.ContainsRune("0123456789ABCDEF", c) {
			return false
		}
	}
	return len(s) == 36
}

var b64 = base64.RawURLEncoding.Strict()

// attestationKey is the vTPM's AK. public, when the evidence carries it, must be the
// public area of the same key.
func (r *runtime) attestationKey(public []byte) (*tpm.AK, *attest.Rejection) {
	i := slices.IndexFunc(r.keys, func(k jwk) bool { return k.kid == akID })
	if i < 0 {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "the runtime JSON names no %s", akID)
	}
	k := r.keys[i]
	if k.kty != "RSA" || len(k.ops) != 1 || k.ops[0] != "sign" {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%s is a key of type %.8q for %.32q, want RSA for sign only", akID, k.kty, k.ops)
	}
	n, errN := b64.DecodeString(k.n)
	e, errE := b64.DecodeString(k.e)
	if errN != nil || errE != nil || len(n) == 0 || n[0] == 0 || len(e) == 0 || len(e) > 4 || e[0] == 0 {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%s: modulus or exponent unreadable", akID)
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	ak, err := tpm.KeyAK(pub)
	if err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%s: %w", akID, err)
	}
	if len(public) == 0 {
		return ak, nil
	}
	sent, err := tpm.ParseAK(public)
	if err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	if !pub.Equal(sent.Public) {
		return nil, attest.Reject(attest.CheckNotLinked, "the AK sent is not the one that the hardware's report names")
	}
	return ak, nil
}
