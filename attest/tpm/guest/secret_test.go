package guest

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// AG-12: the kernel keeps the pages of a secret out of swap (lo) and out of core dumps (dd).
func TestSecretIsLocked(t *testing.T) {
	s, err := TakeSecret([]byte("canary-value"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.locked {
		t.Skip("no right to lock a page here")
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, region, found := strings.Cut(string(smaps), strings.TrimPrefix(fmt.Sprintf("%p", s.mem), "0x")+"-")
	_, line, flagged := strings.Cut(region, "VmFlags: ")
	line, _, _ = strings.Cut(line, "\n")
	flags := strings.Fields(line)
	if !found || !flagged || !slices.Contains(flags, "lo") || !slices.Contains(flags, "dd") {
		t.Errorf("flags of the pages: %q", flags)
	}
}

// unlucky is a TPM whose lock is gone once it has answered the command after.
type unlucky struct {
	transport.TPMCloser
	lock  *os.File
	after tpm2.TPMCC
}

func (u unlucky) Send(command []byte) ([]byte, error) {
	rsp, err := u.TPMCloser.Send(command)
	if tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == u.after {
		_ = u.lock.Close()
	}
	return rsp, err
}

// TestFailureGivesNoSecret: what a failed operation got from the TPM is not for its
// caller, who would not clear it.
func TestFailureGivesNoSecret(t *testing.T) {
	s, g := start(t)
	raw := g.raw
	recipient := func(kind Kind) *Recipient {
		r, err := g.NewRecipient(t.Context(), kind, DefaultSelection())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for after, prepare := range map[tpm2.TPMCC]func() (ask func() ([]byte, error), end func() error){
		tpm2.TPMCCRSADecrypt: func() (func() ([]byte, error), func() error) {
			r := recipient(RSA)
			sealed := seal(t, r)
			return func() ([]byte, error) { return r.DecryptOAEP(t.Context(), sealed) }, r.Close
		},
		tpm2.TPMCCECDHZGen: func() (func() ([]byte, error), func() error) {
			r := recipient(P256)
			return func() ([]byte, error) { return exchanger{t.Context(), r}.ECDH(peer.PublicKey()) }, r.Close
		},
		tpm2.TPMCCActivateCredential: func() (func() ([]byte, error), func() error) {
			req, err := g.EnrollRequest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := credential(t, req, random(32), false)
			return func() ([]byte, error) { return g.Activate(t.Context(), c) }, func() error { return nil }
		},
	} {
		ask, end := prepare()
		g.raw = unlucky{raw, g.lock, after}
		if secret, err := ask(); err == nil || secret != nil {
			t.Errorf("command %#x: %d bytes, %v", uint32(after), len(secret), err)
		}
		g.raw = raw
		if g.lock, err = os.Open(filepath.Dir(s.Socket)); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
