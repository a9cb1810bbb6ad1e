package skr

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// call is a request that the service saw.
type call struct {
	host, uri, auth string
	body            []byte
}

// service answers a path and query with a handler and keeps what was asked. Every
// host:port leads to it.
type service struct {
	calls  []call
	client *http.Client
}

func newService(t *testing.T, ca *authority, hosts []string, handlers map[string]func(body []byte) (int, any)) *service {
	t.Helper()
	s := &service{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.calls = append(s.calls, call{r.Host, r.URL.RequestURI(), r.Header.Get("Authorization"), body})
		handle := handlers[r.URL.RequestURI()]
		if handle == nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		status, answer := handle(body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("x-ms-request-id", "id-1")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	key := newEC(t)
	leaf := ca.leaf(t, key.Public(), func(c *x509.Certificate) { c.DNSNames = hosts })
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, ca.intermediate.Raw}, PrivateKey: key}}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
		},
	}}
	return s
}

// softTPM stands for the machine's TPM where only the shapes matter.
type softTPM struct{ key *rsa.PrivateKey }

func (softTPM) AIK() (cert, public []byte, err error) { return nil, []byte("aik"), nil }
func (softTPM) EventLog() ([]byte, error)             { return nil, nil }

func (softTPM) Quote(pcrs []int) (values []PCR, quote, signature []byte, err error) {
	for _, i := range pcrs {
		values = append(values, PCR{i, make([]byte, 32)})
	}
	return values, []byte("quote"), []byte("quote signature"), nil
}

func (s softTPM) NewKey([]int) (EphemeralKey, error) { return softKey(s), nil }

type softKey struct{ key *rsa.PrivateKey }

// Public is not a whole TPM2B_PUBLIC: only the modulus at its end is read here.
func (s softKey) Public() []byte { return append([]byte("TPM2B"), s.key.N.Bytes()...) }

func (softKey) Certify() (info, signature []byte, err error) {
	return []byte("certify"), []byte("certify signature"), nil
}
func (softKey) Close() error { return nil }

func (s softKey) DecryptPKCS1(b []byte) ([]byte, error) {
	//lint:ignore SA1019 the protocol has nothing else
	return rsa.DecryptPKCS1v15(nil, s.key, b)
}

func (s softKey) DecryptOAEP(b []byte) ([]byte, error) {
	return s.key.Decrypt(nil, b, &rsa.OAEPOptions{Hash: crypto.SHA256})
}

// sealer makes sealed tokens. Tests change one thing and see who minds.
type sealer struct {
	jwt    string
	aad    string
	key    int // bytes
	params map[string]any
	encode func([]byte) string
	tag    int // bytes that are left of the tag
}

func newSealer() sealer {
	return sealer{
		jwt: "e30.e30.c2ln", aad: transportKey, key: 32, encode: b64u, tag: 16,
		params: map[string]any{"BlockMode": "ChainingModeGCM", "BlockPadding": "PKCS7", "Cipher": "AES", "KeySizeInBits": 256},
	}
}

func (s sealer) seal(t testing.TB, encKeyPub []byte) string {
	t.Helper()
	n := new(big.Int).SetBytes(encKeyPub[len(encKeyPub)-targetSize:])
	inner, iv := make([]byte, s.key), make([]byte, 12)
	rand.Read(inner)
	rand.Read(iv)
	//lint:ignore SA1019 the protocol has nothing else
	c := must(rsa.EncryptPKCS1v15(rand.Reader, &rsa.PublicKey{N: n, E: 65537}, inner))(t)
	gcm := must(cipher.NewGCM(must(aes.NewCipher(inner))(t)))(t)
	out := gcm.Seal(nil, iv, []byte(s.jwt), []byte(s.aad))
	params := map[string]any{"Iv": base64.StdEncoding.EncodeToString(iv)}
	for k, v := range s.params {
		params[k] = v
	}
	return s.encode(must(json.Marshal(map[string]any{
		"EncryptedInnerKey": c, "EncryptionParams": params,
		"AuthenticationData": out[len(s.jwt):][:s.tag], "Jwt": out[:len(s.jwt)],
	}))(t))
}
