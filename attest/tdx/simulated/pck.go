package simulated

import (
	"encoding/asn1"
	"encoding/hex"
)

// What this platform is, in Intel's words.
const (
	pceSVN = 13
	qeSVN  = 4
)

// fmspc has bytes that no real kind of platform has.
func fmspc() []byte { return []byte{0x90, 0xc0, 0x6f, 0x51, 0x4d, 0x00} }

// FMSPC names the kind of platform in TCB info, in lower-case hex.
func FMSPC() string { return hex.EncodeToString(fmspc()) }

func components() [16]byte { return [16]byte{3, 3, 2, 2, 4, 1, 0, 5} }

func sgxOID() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1} }

// extension is the SGX extension of the PCK certificate (Intel SGX PCK Certificate
// and CRL Profile, §1.3.5).
func (p *Platform) extension() ([]byte, error) {
	type member struct {
		ID    asn1.ObjectIdentifier
		Value any
	}
	at := func(arcs ...int) asn1.ObjectIdentifier { return append(sgxOID(), arcs...) }
	svns := components()
	tcb := make([]member, 0, 18)
	for i, svn := range svns {
		tcb = append(tcb, member{at(2, i+1), int(svn)})
	}
	tcb = append(tcb, member{at(2, 17), pceSVN}, member{at(2, 18), svns[:]})
	return asn1.Marshal([]member{
		{at(1), p.ppid},
		{at(2), tcb},
		{at(3), []byte{0, 0}},
		{at(4), fmspc()},
		{at(5), asn1.Enumerated(1)},
		{at(6), p.instance},
		{at(7), []member{{at(7, 1), true}, {at(7, 2), false}, {at(7, 3), true}}},
	})
}
