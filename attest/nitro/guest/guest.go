// Package guest is the collecting half of AWS Nitro Evidence: it runs inside the
// enclave and asks the Nitro Security Module (NSM) for an attestation document, which
// package attest/nitro verifies.
package guest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/internal/strict"
)

// DefaultDevice is where the kernel shows the NSM.
const DefaultDevice = "/dev/nsm"

// ErrNoNSM says that there is no NSM to talk to, or no right to.
var ErrNoNSM = errors.New("no Nitro Security Module")

// NSM sends one CBOR request to a module and gives its answer.
type NSM interface {
	Exchange(ctx context.Context, request []byte) ([]byte, error)
	Close() error
}

// Options of [Open]. The zero value is the machine's own NSM.
type Options struct {
	Path string      // device, or Unix socket of a simulated NSM; "" = [DefaultDevice]
	Type attest.Type // of the Evidence: "" = "nitro", or "simulated-nitro"
}

// Enclave is an open NSM. It is safe for concurrent use; the kernel lets one request
// in at a time.
type Enclave struct {
	nsm NSM
	typ attest.Type
}

// Open opens the NSM. Errors wrap [ErrNoNSM].
func Open(o Options) (*Enclave, error) {
	if o.Path == "" {
		o.Path = DefaultDevice
	}
	fi, err := os.Stat(o.Path)
	if err != nil {
		return nil, missing(err)
	}
	if fi.Mode()&os.ModeSocket != 0 {
		return New(socket(o.Path), o.Type), nil
	}
	if fi.Mode()&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("%w: %s is neither a device nor a socket", ErrNoNSM, o.Path)
	}
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, missing(err)
	}
	return New(&device{file: f}, o.Type), nil
}

// New collects from any NSM. An empty type is "nitro".
func New(nsm NSM, typ attest.Type) *Enclave {
	if typ == "" {
		typ = attest.TypeNitro
	}
	return &Enclave{nsm, typ}
}

func missing(err error) error {
	advice := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		advice = "; run as root or as the owner of the device"
	case errors.Is(err, fs.ErrNotExist):
		advice = "; is this a Nitro enclave, and does its kernel have the nsm driver?"
	}
	return fmt.Errorf("%w: %w%s", ErrNoNSM, err, advice)
}

// Close releases the NSM.
func (e *Enclave) Close() error { return e.nsm.Close() }

// Evidence collects Evidence of type "nitro": user_data is the hash of runtimeData,
// nonce the nonce in it, and public_key the hash of the recipient's JWK as it stands
// there. Nonce and recipient may be nil, for a document that no release takes.
func (e *Enclave) Evidence(ctx context.Context, runtimeData, nonce, recipientJWK []byte) (attest.Evidence, error) {
	digest := binding.Digest(runtimeData)
	q := format.Request{UserData: digest[:], Nonce: nonce}
	if recipientJWK != nil {
		key := sha256.Sum256(recipientJWK)
		q.PublicKey = key[:]
	}
	if len(nonce) > format.MaxField {
		return attest.Evidence{}, fmt.Errorf("nonce of %d bytes, limit %d", len(nonce), format.MaxField)
	}
	answer, err := e.nsm.Exchange(ctx, q.Encode())
	if err != nil {
		return attest.Evidence{}, fmt.Errorf("ask the NSM: %w", err)
	}
	doc, err := format.DecodeResponse(answer)
	if err != nil {
		return attest.Evidence{}, err
	}
	body, err := strict.Marshal(format.Evidence{Type: e.typ, Document: doc})
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{Type: e.typ, Body: body, RuntimeData: runtimeData}, nil
}

// socketLimit bounds an exchange with a simulated NSM.
const socketLimit = 10 * time.Second

// socket is a simulated NSM: each message has its length in four bytes, big-endian,
// in front.
type socket string

func (s socket) Close() error { return nil }

func (s socket) Exchange(ctx context.Context, request []byte) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, socketLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", string(s))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNSM, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > format.MaxResponse {
		return nil, fmt.Errorf("answer of %d bytes, limit %d", n, format.MaxResponse)
	}
	answer = make([]byte, n)
	_, err = io.ReadFull(conn, answer)
	return answer, err
}
