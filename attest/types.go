package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Type names a format of Evidence. Types compare exactly: no case folding.
type Type string

// The types known to this version. A composite (azure-cvm, gce) holds the proof of
// a TPM and that of the hardware it runs in, each bound to the other.
const (
	TypeTPM      Type = "tpm"
	TypeSNP      Type = "snp"
	TypeTDX      Type = "tdx"
	TypeSGX      Type = "sgx"
	TypeAzureCVM Type = "azure-cvm"
	TypeNitro    Type = "nitro"
	TypeGCE      Type = "gce"
	TypeToken    Type = "token"
)

const simulated = "simulated-"

// Simulated is the type of evidence in the shape of t that a generated test root
// signed. The same verifier code reads it; only a deployment initialised as a
// simulation knows the type at all.
func (t Type) Simulated() Type { return simulated + t }

// Base is t without the mark of a simulation, and whether it had it.
func (t Type) Base() (Type, bool) {
	base, ok := strings.CutPrefix(string(t), simulated)
	return Type(base), ok
}

// Identify makes the Identity of hardware of type t from what names it, for example
// an SNP chip id. The id is a hash, "<type>-<64 hex digits>": it is the same
// after every boot, fits every name that operators type, and tells a reader of the
// log no serial number.
func Identify(t Type, name []byte) Identity {
	h := sha256.New()
	h.Write([]byte(t))
	h.Write([]byte{0})
	h.Write(name)
	return Identity{Kind: string(t), ID: string(t) + "-" + hex.EncodeToString(h.Sum(nil))}
}
