package jose

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	jwxkey "github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

func certified(t testing.TB, key *rsa.PrivateKey) CertifiedKey {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attestation"},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return CertifiedKey{Cert: cert, Key: key}
}

// A token is verified by jwx from the published set, and by this package's reader of
// foreign tokens.
func TestRS256(t *testing.T) {
	a, b := certified(t, newRSA(t, 2048)), certified(t, newRSA(t, 2048))
	signer, err := NewRS256Signer(b)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("https://b/certs", []byte(`{"iss":"https://b"}`))
	if err != nil {
		t.Fatal(err)
	}
	published, err := Publish([]CertifiedKey{a, b})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(published)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := jwxkey.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := jws.Verify([]byte(token), jws.WithKeySet(theirs)); err != nil || string(payload) != `{"iss":"https://b"}` {
		t.Errorf("jwx: %s, %v", payload, err)
	}
	ours, err := ParseKeySet(doc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := SplitForeign(token, len(token))
	if err != nil {
		t.Fatal(err)
	}
	key, ok := f.Find(ours)
	if !ok || !b.Key.PublicKey.Equal(key.Public) || f.Verify(key, []string{"RS256"}) != nil {
		t.Error("the published set does not verify the token, or with the wrong key")
	}
	if f.Verify(&ours[0], []string{"RS256"}) == nil {
		t.Error("verified with the other key")
	}
}

// The header has four members in Azure's order, and names the key by its SPKI.
func TestRS256Header(t *testing.T) {
	k := certified(t, newRSA(t, 2048))
	signer, err := NewRS256Signer(k)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign("https://h:8443/certs", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(k.Cert.RawSubjectPublicKeyInfo)
	want := fmt.Sprintf(`{"alg":"RS256","jku":"https://h:8443/certs","kid":%q,"typ":"JWT"}`, base64.StdEncoding.EncodeToString(sum[:]))
	if string(head) != want {
		t.Errorf("%s, want %s", head, want)
	}
	if _, err := jws.Verify([]byte(token), jws.WithKey(jwa.PS256, &k.Key.PublicKey)); err == nil {
		t.Error("verified as PS256")
	}
}

func TestRS256Refuses(t *testing.T) {
	good, other := certified(t, newRSA(t, 2048)), certified(t, newRSA(t, 2048))
	odd := *good.Key
	odd.E = 3
	for name, k := range map[string]CertifiedKey{
		"nothing": {}, "no certificate": {Key: good.Key}, "another's certificate": {Key: good.Key, Cert: other.Cert}, "exponent 3": {Key: &odd, Cert: good.Cert},
	} {
		if _, err := NewRS256Signer(k); err == nil {
			t.Errorf("%s: makes a signer", name)
		}
		if _, err := Publish([]CertifiedKey{k}); err == nil {
			t.Errorf("%s: published", name)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", good, good, good); strings.Contains(s, good.Key.D.String()) {
		t.Error("prints the key")
	}
}
