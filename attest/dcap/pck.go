package dcap

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
)

// PCK is what Intel's provisioning certification key certificate says of the
// platform (Intel SGX PCK Certificate and CRL Profile, §1.3.5).
type PCK struct {
	PPID       [16]byte // name of the processor package
	Components [16]byte // SVNs of the platform's TCB
	PCESVN     uint16
	PCEID      [2]byte
	FMSPC      [6]byte // family, model, stepping, platform, custom SKU
	// InstanceID names a platform of several packages; zero where the certificate
	// has none.
	InstanceID [16]byte
	CA         string // "platform" or "processor": who issued the certificate
	Serial     []byte // of the certificate
}

// Name is what identifies the hardware in Intel's words: a PPID, and the instance id
// where there is one. It is stable until the platform is registered anew.
func (p *PCK) Name() []byte { return append(append([]byte{}, p.PPID[:]...), p.InstanceID[:]...) }

// FMSPCHex is the FMSPC as documents and claims name it, in lower case.
func (p *PCK) FMSPCHex() string { return hex.EncodeToString(p.FMSPC[:]) }

// Members of the SGX extension, below 1.2.840.113741.1.13.1.
const (
	oidPPID = iota + 1
	oidTCB
	oidPCEID
	oidFMSPC
	oidType
	oidInstanceID
	oidConfiguration
)

func sgxOID() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1} }

// member is SEQUENCE { OBJECT IDENTIFIER, ANY }, the shape of every extension in the
// extension.
type member struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// parseMembers reads SEQUENCE OF member. Each is one arc below base, and comes once.
func parseMembers(der []byte, base asn1.ObjectIdentifier) (map[int]asn1.RawValue, error) {
	var list []member
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("SGX extension: %d bytes too many, %w", len(rest), err)
	}
	out := map[int]asn1.RawValue{}
	for _, m := range list {
		if len(m.ID) != len(base)+1 || !m.ID[:len(base)].Equal(base) {
			return nil, fmt.Errorf("SGX extension: %v does not belong below %v", m.ID, base)
		}
		arc := m.ID[len(base)]
		if _, twice := out[arc]; twice {
			return nil, fmt.Errorf("SGX extension: %v twice", m.ID)
		}
		out[arc] = m.Value
	}
	return out, nil
}

// parseExtension reads the value of the certificate's SGX extension. Members that
// Intel may add later are left unread; those needed must be there.
func parseExtension(der []byte) (*PCK, error) {
	members, err := parseMembers(der, sgxOID())
	if err != nil {
		return nil, err
	}
	p := &PCK{}
	for arc, dst := range map[int][]byte{oidPPID: p.PPID[:], oidPCEID: p.PCEID[:], oidFMSPC: p.FMSPC[:], oidInstanceID: p.InstanceID[:]} {
		v, there := members[arc]
		if !there && arc == oidInstanceID {
			continue
		}
		if err := octets(v, dst); err != nil {
			return nil, fmt.Errorf("SGX extension, member %d: %w", arc, err)
		}
	}
	return p, p.parseTCB(members[oidTCB].FullBytes)
}

// parseTCB reads members .2.1 to .2.16 (components), .2.17 (PCESVN), .2.18 (CPUSVN).
func (p *PCK) parseTCB(der []byte) error {
	tcb, err := parseMembers(der, append(sgxOID(), oidTCB))
	if err != nil {
		return err
	}
	for i := range p.Components {
		n, err := integer(tcb[i+1], 0xff)
		if err != nil {
			return fmt.Errorf("SGX extension, TCB component %d: %w", i+1, err)
		}
		p.Components[i] = byte(n)
	}
	n, err := integer(tcb[17], 0xffff)
	if err != nil {
		return fmt.Errorf("SGX extension, PCESVN: %w", err)
	}
	p.PCESVN = uint16(n)
	var cpuSVN [16]byte // the same TCB as the processor reports it
	if err := octets(tcb[18], cpuSVN[:]); err != nil {
		return fmt.Errorf("SGX extension, CPUSVN: %w", err)
	}
	return nil
}

func octets(v asn1.RawValue, dst []byte) error {
	if v.Class != asn1.ClassUniversal || v.Tag != asn1.TagOctetString || v.IsCompound || len(v.Bytes) != len(dst) {
		return fmt.Errorf("want an octet string of %d bytes", len(dst))
	}
	copy(dst, v.Bytes)
	return nil
}

func integer(v asn1.RawValue, limit int64) (int64, error) {
	var n int64
	if len(v.FullBytes) == 0 {
		return 0, errors.New("missing")
	}
	if rest, err := asn1.Unmarshal(v.FullBytes, &n); err != nil || len(rest) > 0 || n < 0 || n > limit {
		return 0, fmt.Errorf("want an integer from 0 to %d", limit)
	}
	return n, nil
}

// caOf tells the two PCK CAs apart by the name that the root gave them: it is only
// used to ask for their CRL, whose signature says whose it is.
func caOf(commonName string) (string, error) {
	switch commonName {
	case "Intel SGX PCK Platform CA":
		return "platform", nil
	case "Intel SGX PCK Processor CA":
		return "processor", nil
	}
	return "", fmt.Errorf("%q is no PCK CA", commonName)
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
