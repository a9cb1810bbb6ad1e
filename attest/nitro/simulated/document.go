package simulated

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/internal/strict"
)

// Draft is a document before it is signed. A test changes what it wants.
type Draft struct {
	ModuleID  string
	Digest    string
	Timestamp uint64 // milliseconds
	PCRs      map[uint64][]byte
	NitroTPM  bool
	Leaf      []byte   // DER
	Bundle    [][]byte // DER, root first
	format.Request
}

// es384 is the protected header of a sound document.
var es384 = []byte{0xa1, 0x01, 0x38, 0x22}

// Draft is what this platform attests at that time.
func (p *Platform) Draft(q format.Request, at time.Time) (*Draft, error) {
	leaf, err := p.Leaf(p.LeafTemplate(at))
	if err != nil {
		return nil, err
	}
	d := &Draft{
		ModuleID: p.ModuleID, Digest: "SHA384", Timestamp: uint64(at.UnixMilli()), PCRs: maps.Clone(p.PCRs), NitroTPM: p.NitroTPM,
		Leaf: leaf.Raw, Bundle: [][]byte{p.Root.Raw, p.Intermediate.Raw}, Request: q,
	}
	if p.Debug {
		for i := range uint64(3) {
			d.PCRs[i] = make([]byte, sha512.Size384)
		}
	}
	return d, nil
}

// Payload is the CBOR of d.
func (d *Draft) Payload() []byte {
	b := format.AppendMap(nil, 9)
	b = format.AppendText(format.AppendText(b, "module_id"), d.ModuleID)
	b = format.AppendText(format.AppendText(b, "digest"), d.Digest)
	b = format.AppendUint(format.AppendText(b, "timestamp"), d.Timestamp)
	name := "pcrs"
	if d.NitroTPM {
		name = "nitrotpm_pcrs"
	}
	b = format.AppendMap(format.AppendText(b, name), len(d.PCRs))
	for _, i := range slices.Sorted(maps.Keys(d.PCRs)) {
		b = format.AppendBytes(format.AppendUint(b, i), d.PCRs[i])
	}
	b = format.AppendBytes(format.AppendText(b, "certificate"), d.Leaf)
	b = format.AppendArray(format.AppendText(b, "cabundle"), len(d.Bundle))
	for _, c := range d.Bundle {
		b = format.AppendBytes(b, c)
	}
	b = format.AppendBytes(format.AppendText(b, "public_key"), d.PublicKey)
	b = format.AppendBytes(format.AppendText(b, "user_data"), d.UserData)
	return format.AppendBytes(format.AppendText(b, "nonce"), d.Nonce)
}

// Sign is the raw signature, 96 bytes, of the leaf's key over a protected header and
// a payload.
func (p *Platform) Sign(protected, payload []byte) ([]byte, error) {
	tbs := format.AppendText(format.AppendArray(nil, 4), "Signature1")
	tbs = format.AppendBytes(format.AppendBytes(tbs, protected), []byte{})
	tbs = format.AppendBytes(tbs, payload)
	h := sha512.Sum384(tbs)
	r, s, err := ecdsa.Sign(rand.Reader, p.leafKey, h[:])
	if err != nil {
		return nil, err
	}
	sig := make([]byte, 96)
	r.FillBytes(sig[:48])
	s.FillBytes(sig[48:])
	return sig, nil
}

// Seal makes the document of a payload, sound or not.
func (p *Platform) Seal(payload []byte) ([]byte, error) {
	sig, err := p.Sign(es384, payload)
	b := format.AppendBytes(format.AppendArray(nil, 4), es384)
	b = format.AppendBytes(format.AppendMap(b, 0), payload)
	return format.AppendBytes(b, sig), err
}

// Document is what the NSM answers to q.
func (p *Platform) Document(q format.Request, at time.Time) ([]byte, error) {
	d, err := p.Draft(q, at)
	if err != nil {
		return nil, err
	}
	return p.Seal(d.Payload())
}

// Bind is the request for evidence over runtime data.
func Bind(runtimeData []byte) (format.Request, error) {
	doc, err := binding.Parse(runtimeData)
	if err != nil {
		return format.Request{}, err
	}
	digest, key := binding.Digest(runtimeData), sha256.Sum256(doc.Recipient())
	return format.Request{UserData: digest[:], Nonce: doc.Nonce, PublicKey: key[:]}, nil
}

// Evidence is sound evidence over runtime data.
func (p *Platform) Evidence(runtimeData []byte, at time.Time) (attest.Evidence, error) {
	q, err := Bind(runtimeData)
	if err != nil {
		return attest.Evidence{}, err
	}
	doc, err := p.Document(q, at)
	if err != nil {
		return attest.Evidence{}, err
	}
	return Pack(doc, runtimeData)
}

// Pack makes evidence of a document.
func Pack(doc, runtimeData []byte) (attest.Evidence, error) {
	typ := attest.TypeNitro.Simulated()
	body, err := strict.Marshal(format.Evidence{Type: typ, Document: doc})
	return attest.Evidence{Type: typ, Body: body, RuntimeData: runtimeData}, err
}

// Exchange is the device: one request, one answer.
func (p *Platform) Exchange(request []byte) ([]byte, error) {
	q, err := format.DecodeRequest(request)
	if err != nil {
		return format.EncodeError("InvalidArgument"), nil
	}
	doc, err := p.Document(q, p.Now())
	if err != nil {
		return nil, err
	}
	return format.EncodeResponse(doc), nil
}

// Serve answers requests until rw ends. Each message has its length in four bytes,
// big-endian, in front; package guest speaks that to a socket.
func (p *Platform) Serve(rw io.ReadWriter) error {
	for {
		var size [4]byte
		if _, err := io.ReadFull(rw, size[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > format.MaxRequest {
			return fmt.Errorf("simulated NSM: request of %d bytes", n)
		}
		request := make([]byte, n)
		if _, err := io.ReadFull(rw, request); err != nil {
			return err
		}
		answer, err := p.Exchange(request)
		if err != nil {
			return err
		}
		if _, err := rw.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)); err != nil {
			return err
		}
	}
}
