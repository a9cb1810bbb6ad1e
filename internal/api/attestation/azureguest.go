package attestation

import (
	"context"
	"crypto/rsa"
	"strconv"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	tpmformat "github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
)

// GuestVerifier verifies what the guest client of Azure Attestation sends, and gives
// the key in the machine's vTPM that the answer is sealed to. Implemented by
// attest/azurecvm; a type it has no verifier for is refused.
type GuestVerifier interface {
	Guest(ctx context.Context, g *format.Guest, ends []attest.Endorsement, want attest.Expect) (*attest.Result, *rsa.PublicKey, error)
}

// maxGuest bounds a request with a TCG event log in it, in bytes.
const maxGuest = 1 << 20

// guestInfo is what the guest client sends, base64 of text and bytes as it does (wire
// format: §5.5). One client writes it, in one spelling; what a newer one has besides is
// ignored.
type guestInfo struct {
	Protocol  string            `json:"AttestationProtocolVersion"`
	OSType    string            `json:"OSType"`
	OSDistro  string            `json:"OSDistro"`
	OSMajor   int64             `json:"OSVersionMajor"`
	OSMinor   int64             `json:"OSVersionMinor"`
	OSBuild   string            `json:"OSBuild"`
	Log       string            `json:"TcgLogs"`
	Payload   map[string]string `json:"ClientPayload"`
	TPM       guestTPM          `json:"TpmInfo"`
	Isolation guestIsolation    `json:"IsolationInfo"`
}

// guestTPM is the vTPM's part. AikCert and AikPub are not read: the hardware's report
// names the AK.
type guestTPM struct {
	AikCert          string     `json:"AikCert"`
	AikPub           string     `json:"AikPub"`
	Quote            string     `json:"PcrQuote"`
	Signature        string     `json:"PcrSignature"`
	Key              string     `json:"EncKeyPub"`
	Certify          string     `json:"EncKeyCertifyInfo"`
	CertifySignature string     `json:"EncKeyCertifyInfoSignature"`
	Set              []int      `json:"PcrSet"`
	PCRs             []guestPCR `json:"PCRs"`
}

type guestPCR struct {
	Index  int    `json:"Index"`
	Digest string `json:"Digest"`
}

type guestIsolation struct {
	Type     string `json:"Type"`
	Evidence struct {
		Proof   string `json:"Proof"`
		Runtime string `json:"RunTimeData"`
	} `json:"Evidence"`
}

// guestRequest is the request taken apart.
type guestRequest struct {
	info     *guestInfo
	evidence format.Guest
	ends     []attest.Endorsement
	texts    map[string]string // what the client says of its system, unproven
}

// guest is POST /attest/AzureGuest: an Azure confidential VM by its vTPM. The answer
// opens in that vTPM alone, in the boot state that was quoted.
func (s *Service) guest(ctx context.Context, c *route.Call) (any, error) {
	req, err := parseGuest(c.Body)
	if err != nil {
		return nil, err
	}
	var key *rsa.PublicKey
	denials := s.denials()
	res, err := s.try(attest.TypeAzureCVM, func(t attest.Type, want attest.Expect) (res *attest.Result, err error) {
		req.evidence.Type = t
		res, key, err = s.Guests.Guest(ctx, &req.evidence, req.ends, want)
		return res, err
	}, nil)
	if err != nil {
		return nil, err
	}
	jwt, err := s.sign(c, s.guestClaims(c.Host, req, denials, res, key))
	if err != nil {
		return nil, err
	}
	sealed, err := seal(key, jwt)
	return Token{Token: sealed}, err
}

func parseGuest(body []byte) (*guestRequest, error) {
	m, err := members(body, maxGuest, "AttestationInfo")
	if err != nil {
		return nil, err
	}
	encoded, err := text(m, "AttestationInfo")
	if err != nil {
		return nil, err
	}
	doc, err := decodeBinary(encoded, maxGuest)
	if err != nil {
		return nil, err
	}
	r := &guestRequest{info: &guestInfo{}}
	if err := route.DecodeKnown(doc, maxGuest, r.info); err != nil {
		return nil, err
	}
	if r.info.Protocol != "2.0" {
		return nil, release.Refuse(release.ReasonBadRequest, "AttestationProtocolVersion %.16q, want 2.0", r.info.Protocol)
	}
	d := &decoder{}
	r.texts = map[string]string{"ostype": d.text(r.info.OSType), "osdistro": d.text(r.info.OSDistro), "osbuild": d.text(r.info.OSBuild)}
	r.evidence.TPM = d.tpm(r.info)
	r.evidence.Runtime = d.bytes(r.info.Isolation.Evidence.Runtime, format.MaxHCL)
	if d.err != nil {
		return nil, d.err
	}
	if err := r.proof(); err != nil {
		return nil, err
	}
	return r, payload(r.info.Payload)
}

// proof reads the hardware's part.
func (r *guestRequest) proof() (err error) {
	switch i := r.info.Isolation; i.Type {
	case "SevSnp":
		r.evidence.Report, r.ends, err = parseReport(i.Evidence.Proof)
	case "Tdx":
		r.evidence.TDQuote, err = decodeBinary(i.Evidence.Proof, maxQuote)
		if err == nil && len(r.evidence.TDQuote) == 0 {
			err = release.Refuse(release.ReasonBadRequest, "no quote")
		}
	default:
		err = release.Refuse(release.ReasonNotOffered, "isolation %.32q: want SevSnp or Tdx", i.Type)
	}
	return err
}

// maxPayload bounds what the client wants repeated, in bytes.
const maxPayload = 16 << 10

func payload(p map[string]string) error {
	n := 0
	for name, v := range p {
		n += len(name) + len(v)
		if _, err := decodeBinary(v, maxPayload); err != nil {
			return err
		}
	}
	if n > maxPayload {
		return release.Refuse(release.ReasonTooLarge, "ClientPayload of %d bytes, limit %d", n, maxPayload)
	}
	return nil
}

// decoder reads many base64 values and remembers the first error.
type decoder struct{ err error }

func (d *decoder) bytes(s string, limit int) []byte {
	b, err := decodeBinary(s, limit)
	if d.err == nil {
		d.err = err
	}
	return b
}

// maxText bounds a text about the client's system in bytes.
const maxText = 256

func (d *decoder) text(s string) string { return string(d.bytes(s, maxText)) }

// tpm brings the vTPM's part into the shape of our own evidence.
func (d *decoder) tpm(i *guestInfo) tpmformat.Evidence {
	t := i.TPM
	values := map[string]attest.Bytes{}
	for _, p := range t.PCRs {
		name := strconv.Itoa(p.Index)
		if _, twice := values[name]; twice && d.err == nil {
			d.err = release.Refuse(release.ReasonDuplicateMember, "PCR %s twice", name)
		}
		values[name] = d.bytes(p.Digest, 64)
	}
	selected := map[string]attest.Bytes{}
	for _, n := range t.Set {
		v, ok := values[strconv.Itoa(n)]
		if !ok && d.err == nil {
			d.err = release.Refuse(release.ReasonBadRequest, "PcrSet names PCR %d, whose value is missing", n)
		}
		selected[strconv.Itoa(n)] = v
	}
	return tpmformat.Evidence{
		Type: attest.TypeTPM, Quote: d.bytes(t.Quote, maxStatement), Signature: rsassa(d.bytes(t.Signature, maxStatement)),
		PCRs: map[string]map[string]attest.Bytes{"sha256": selected}, EventLog: d.bytes(i.Log, maxGuest),
		Recipient: &tpmformat.Recipient{
			Public: unsized(d.bytes(t.Key, maxStatement)), Certify: d.bytes(t.Certify, maxStatement), Signature: rsassa(d.bytes(t.CertifySignature, maxStatement)),
		},
	}
}

// maxStatement bounds a TPM's statement, signature or public area in bytes.
const maxStatement = 4 << 10

// rsassa makes a TPMT_SIGNATURE of a bare RSASSA signature with SHA-256 (TPM 2.0 Part 2 §11.3.4).
func rsassa(sig []byte) []byte {
	return append([]byte{0, 0x14, 0, 0x0b, byte(len(sig) >> 8), byte(len(sig))}, sig...)
}

// unsized takes the TPMT_PUBLIC out of a TPM2B_PUBLIC; what is none is left to the
// verifier to refuse.
func unsized(b []byte) []byte {
	if len(b) < 2 || int(b[0])<<8|int(b[1]) != len(b)-2 {
		return nil
	}
	return b[2:]
}

// guestClaims are those of the vTPM, with the hardware's below x-ms-isolation-tee. What
// the client says of its system, and its payload, stand under Azure's names, unproven.
func (s *Service) guestClaims(host string, req *guestRequest, denials string, res *attest.Result, key *rsa.PublicKey) map[string]any {
	out := s.claims(host, &request{denials: denials}, res)
	for name, v := range req.texts {
		out["x-ms-azurevm-"+name] = v
	}
	out["x-ms-azurevm-osversion-major"], out["x-ms-azurevm-osversion-minor"] = req.info.OSMajor, req.info.OSMinor
	out["x-ms-azurevm-attestation-protocol-ver"] = req.info.Protocol
	runtime := map[string]any{"keys": []any{ephemeral(key)}}
	if len(req.info.Payload) > 0 {
		runtime["client-payload"] = req.info.Payload
	}
	out["x-ms-runtime"] = runtime
	if tee, ok := res.Claims["x-ms-isolation-tee"].(map[string]any); ok {
		inner := map[string]any{}
		for name, v := range tee {
			inner[name] = v
		}
		if status := compliance(res); status != "" {
			inner["x-ms-compliance-status"] = status
		}
		out["x-ms-isolation-tee"] = inner
		delete(out, "x-ms-compliance-status")
	}
	return out
}

// ephemeral is the JWK that a key is released to.
func ephemeral(key *rsa.PublicKey) map[string]any {
	return map[string]any{"kid": "TpmEphemeralEncryptionKey", "kty": "RSA", "key_ops": []string{"encrypt"}, "e": "AQAB", "n": raw.EncodeToString(key.N.Bytes())}
}
