package skr

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// text is bytes that JSON has in standard base64 with padding; empty bytes are "", where
// a []byte would be null.
type text []byte

// MarshalText encodes.
func (t text) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, t), nil }

// guestInfo is the AttestationInfo of the AzureGuest call (wire.md §5.5).
type guestInfo struct {
	AttestationProtocolVersion string
	OSType, OSDistro           text
	OSVersionMajor             int
	OSVersionMinor             int
	OSBuild                    text
	TcgLogs                    text
	ClientPayload              map[string]text // null when none
	TpmInfo                    tpmInfo
	IsolationInfo              isolationInfo
}

type tpmInfo struct {
	AikCert                    text
	AikPub                     text
	PcrQuote                   text
	PcrSignature               text
	EncKeyPub                  text
	EncKeyCertifyInfo          text
	EncKeyCertifyInfoSignature text
	PcrSet                     []int
	PCRs                       []PCR
}

// PCR is a value of the SHA-256 bank.
type PCR struct {
	Index  int
	Digest text
}

type isolationInfo struct {
	Type     string
	Evidence *isolationEvidence `json:",omitempty"`
}

type isolationEvidence struct {
	Proof       text
	RunTimeData text
}

// Isolation is what the machine's hardware says. The zero Isolation is a Trusted Launch
// machine, which has no such evidence.
type Isolation struct {
	kind        string
	proof       []byte
	runTimeData []byte
}

// SNPIsolation is the evidence of an SEV-SNP machine: the HCL report of its TPM and the
// PEM of VCEK, ASK and ARK. The report is base64url without padding, the chain standard
// base64: both as the guest client has them.
func SNPIsolation(h HCL, certChainPEM []byte) (Isolation, error) {
	if h.Type != ReportSNP {
		return Isolation{}, fmt.Errorf("HCL report of type %d is not of an SEV-SNP machine", h.Type)
	}
	proof, err := json.Marshal(map[string]string{
		"SnpReport":     base64.RawURLEncoding.EncodeToString(h.Report),
		"VcekCertChain": base64.StdEncoding.EncodeToString(certChainPEM),
	})
	if err != nil {
		return Isolation{}, err
	}
	return Isolation{"SevSnp", proof, h.RunTimeData}, nil
}

// TDXIsolation is the evidence of a TDX machine: the quote over its HCL report's
// TDREPORT.
func TDXIsolation(h HCL, quote []byte) (Isolation, error) {
	if h.Type != ReportTDX {
		return Isolation{}, fmt.Errorf("HCL report of type %d is not of a TDX machine", h.Type)
	}
	return Isolation{"Tdx", quote, h.RunTimeData}, nil
}

func (i Isolation) info() isolationInfo {
	if i.kind == "" {
		return isolationInfo{Type: "TrustedLaunch"}
	}
	return isolationInfo{i.kind, &isolationEvidence{i.proof, i.runTimeData}}
}

// guestBody is the body of the AzureGuest call.
func guestBody(info guestInfo) ([]byte, error) {
	b, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]string{"AttestationInfo": base64.RawURLEncoding.EncodeToString(b)})
}

// info collects what the guest client sends. The nonce is a member of the client
// payload too, where the token carries it base64-encoded (wire.md §3.6).
func (a *AttestSKR) info(key EphemeralKey) (guestInfo, error) {
	info := guestInfo{
		AttestationProtocolVersion: "2.0",
		OSType:                     text("Linux"),
		OSDistro:                   text("Ubuntu"),
		OSVersionMajor:             24,
		OSVersionMinor:             4,
		OSBuild:                    text("NotApplication"),
		ClientPayload:              map[string]text{"nonce": text(a.nonce())},
		IsolationInfo:              Isolation{}.info(),
	}
	t := &info.TpmInfo
	var err error
	t.PcrSet, t.EncKeyPub = linuxPCRs(), key.Public()
	if t.AikCert, t.AikPub, err = a.TPM.AIK(); err != nil {
		return guestInfo{}, fmt.Errorf("AIK: %w", err)
	}
	if t.PCRs, t.PcrQuote, t.PcrSignature, err = a.TPM.Quote(linuxPCRs()); err != nil {
		return guestInfo{}, fmt.Errorf("quote: %w", err)
	}
	if t.EncKeyCertifyInfo, t.EncKeyCertifyInfoSignature, err = key.Certify(); err != nil {
		return guestInfo{}, fmt.Errorf("certify: %w", err)
	}
	if info.TcgLogs, err = a.TPM.EventLog(); err != nil {
		return guestInfo{}, fmt.Errorf("event log: %w", err)
	}
	if a.Isolation != nil {
		isolation, err := a.Isolation()
		if err != nil {
			return guestInfo{}, fmt.Errorf("isolation evidence: %w", err)
		}
		info.IsolationInfo = isolation.info()
	}
	return info, nil
}
