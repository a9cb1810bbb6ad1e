package simulated

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"math/big"
)

// TD is a trust domain.
type TD struct {
	Version    uint16 // of the quote: 4, or 5 with a TDX 1.5 report
	Extended   bool   // with version 5: the extended report
	Attributes uint64 // bit 0 is debug, 29 migratable
	XFAM       uint64
	TCBSVN     [16]byte // [0] is the SVN of the TDX module, [1] its major version
	// Events are the event log, and what the registers hold.
	Events []Event
	// Edit changes the TD report before it is signed; nil: nothing.
	Edit func(report []byte)
}

// DefaultTD is a production TD that firmware started.
func DefaultTD() TD {
	return TD{Version: 4, Attributes: 1 << 28, XFAM: 0x618e7, TCBSVN: [16]byte{6, 1, 3}, Events: defaultEvents()}
}

// Enclave is an SGX enclave. Its zero value is one for production.
type Enclave struct {
	Version uint16 // of the quote: 3, 4 or 5; 0: 3
	Flags   uint64 // besides INIT and MODE64BIT; bit 1 is debug
}

var le = binary.LittleEndian

// Report is the TD report over reportData, 584 bytes or for version 5 648 or 885, as a
// quote carries it.
func (p *Platform) Report(reportData [64]byte) []byte {
	size := 584
	if p.TD.Version == 5 {
		size = 648
		if p.TD.Extended {
			size = 885
		}
	}
	b := make([]byte, size)
	copy(b, p.TD.TCBSVN[:])
	copy(b[16:], p.mrSeam)
	le.PutUint64(b[120:], p.TD.Attributes)
	le.PutUint64(b[128:], p.TD.XFAM)
	copy(b[136:], p.mrTD)
	for i, v := range p.TD.registers() {
		copy(b[328+48*i:], v[:])
	}
	copy(b[520:], reportData[:])
	if size > 584 {
		copy(b[584:], p.TD.TCBSVN[:])
	}
	if size > 648 {
		copy(b[649:681], p.mrTD) // an id of this TD
	}
	if p.TD.Edit != nil {
		p.TD.Edit(b)
	}
	return b
}

// Quote is a quote of the TD over reportData.
func (p *Platform) Quote(reportData [64]byte) ([]byte, error) {
	body := p.Report(reportData)
	kind := map[int]uint16{584: 2, 648: 3, 885: 4}[len(body)]
	return p.quote(p.TD.Version, 0x81, kind, body)
}

// SGXQuote is a quote of the enclave over reportData.
func (p *Platform) SGXQuote(reportData [64]byte) ([]byte, error) {
	version := p.Enclave.Version
	if version == 0 {
		version = 3
	}
	b := enclave(p.enclaveSigner, 0, 0)
	le.PutUint64(b[48:], 0x05|p.Enclave.Flags)
	copy(b[64:], p.mrEnclave)
	copy(b[320:], reportData[:])
	return p.quote(version, 0, 1, b)
}

// enclave is an SGX REPORT of a production enclave.
func enclave(signer []byte, product, svn uint16) []byte {
	b := make([]byte, 384)
	cpu := components()
	copy(b, cpu[:])
	b[48] = 0x15 // INIT, MODE64BIT, PROVISION_KEY
	b[56] = 0xe7
	copy(b[128:], signer)
	le.PutUint16(b[256:], product)
	le.PutUint16(b[258:], svn)
	return b
}

// quote signs a body: the attestation key signs it, a quoting enclave certifies that
// key, and the PCK that enclave's report.
func (p *Platform) quote(version uint16, tee uint32, kind uint16, body []byte) ([]byte, error) {
	b := le.AppendUint16(nil, version)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint32(b, tee)
	b = append(b, 0, 0, 0, 0)
	b = append(b, "\x93\x9a\x72\x33\xf7\x9c\x4c\xa9\x94\x0a\x0d\xb3\x95\x7f\x06\x07"...)
	b = append(b, make([]byte, 20)...)
	if version == 5 {
		b = le.AppendUint32(le.AppendUint16(b, kind), uint32(len(body)))
	}
	b = append(b, body...)
	signature, err := signRaw(p.ak, b)
	if err != nil {
		return nil, err
	}
	key, err := p.ak.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	key = key[1:]
	data := append(signature, key...)
	certification, err := p.certify(tee, key)
	if err != nil {
		return nil, err
	}
	if version > 3 {
		data = le.AppendUint32(le.AppendUint16(data, 6), uint32(len(certification)))
	}
	data = append(data, certification...)
	return append(le.AppendUint32(b, uint32(len(data))), data...), nil
}

// certify is the quoting enclave's part of a quote.
func (p *Platform) certify(tee uint32, key []byte) ([]byte, error) {
	auth := bytes.Repeat([]byte{0x51}, 32)
	product := uint16(1)
	if tee != 0 {
		product = 2
	}
	report := enclave(p.qeSigner, product, qeSVN)
	if p.Collateral.DebugQE {
		report[48] |= 2
	}
	digest := sha256.Sum256(append(bytes.Clone(key), auth...))
	copy(report[320:], digest[:])
	signature, err := signRaw(p.pck.key, report)
	if err != nil {
		return nil, err
	}
	b := append(report, signature...)
	b = append(le.AppendUint16(b, uint16(len(auth))), auth...)
	chain := p.pem(p.pck, p.ca, p.root)
	return append(le.AppendUint32(le.AppendUint16(b, 5), uint32(len(chain))), chain...), nil
}

func (p *Platform) pem(chain ...identity) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	return out
}

// signRaw signs SHA-256(msg) as r ‖ s, deterministically.
func signRaw(key *ecdsa.PrivateKey, msg []byte) ([]byte, error) {
	digest := sha256.Sum256(msg)
	der, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, err
	}
	return append(rs.R.FillBytes(make([]byte, 32)), rs.S.FillBytes(make([]byte, 32))...), nil
}
