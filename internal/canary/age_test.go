package canary_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

// private makes the broker's key one that files of age are encrypted to, and gives its
// recipient and the numbers that nobody may find: the rest of PKCS #8 is public.
func (m *machine) private(kty string) (recipient string, secrets [][]byte) {
	m.Helper()
	var key crypto.Signer
	if kty == "EC" {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			m.Fatal(err)
		}
		scalar, err := k.Bytes()
		if err != nil {
			m.Fatal(err)
		}
		key, secrets = k, [][]byte{scalar}
	} else {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			m.Fatal(err)
		}
		key, secrets = k, [][]byte{
			k.D.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes(),
			k.Precomputed.Dp.Bytes(), k.Precomputed.Dq.Bytes(), k.Precomputed.Qinv.Bytes(),
		}
	}
	var err error
	if m.broker.Material, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		m.Fatal(err)
	}
	m.broker.Kty = kty
	r, err := ageplugin.NewRecipient(agenttest.KeyURL+"/"+agenttest.Version, key.Public())
	if err != nil {
		m.Fatal(err)
	}
	return r.String(), secrets
}

// TestModeAge: the released key is gone as soon as it has opened the file key, long
// before the end of the file.
func TestModeAge(t *testing.T) {
	for _, kty := range []string{"EC", "RSA"} {
		t.Run(kty, func(t *testing.T) { newMachine(t).decryptsAge(kty) })
	}
}

func (m *machine) decryptsAge(kty string) {
	recipient, secrets := m.private(kty)
	plain := []byte(text())
	in := filepath.Join(m.TempDir(), "b.age")
	var sealed bytes.Buffer
	w, err := ageplugin.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = io.Copy(w, io.LimitReader(repeat(plain), 40<<20))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(in, sealed.Bytes(), 0o600)
	}
	if err != nil {
		m.Fatal(err)
	}
	cmd, out := m.start("openskr-workload", append([]string{"decrypt", "--key", agenttest.KeyURL, in, "-"}, m.options...)...)
	first := make([]byte, len(plain))
	if _, err := io.ReadFull(out, first); err != nil || !bytes.Equal(first, plain) { // and no more: it waits
		m.Fatal(err, m.said.String())
	}
	m.present(cmd.Process.Pid, plain)
	m.clean(cmd.Process.Pid, secrets...)
}
