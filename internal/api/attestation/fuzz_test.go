package attestation

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
)

// FuzzRequest: whatever is read is bounded, its nonce is what was sent, and what is
// refused has a code.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"quote":"AA==","runtimeData":{"data":"e30=","dataType":"JSON"},"initTimeData":{"data":"","dataType":""},"nonce":18446744073709551615}`))
	f.Add([]byte(`{"Quote":"AA","nonce":"\u0041","draftPolicyForAttestation":null}`))
	f.Add([]byte(`{"quote":"AA","runtimeData":{"data":"eyJwdXJwb3NlIjoicmVsZWFzZSJ9","dataType":"Binary"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRequest(body, "quote")
		if err != nil {
			if release.ReasonOf(err) == release.ReasonInternal {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		if r.evidence == "" || !bytes.Contains(body, r.nonce) || r.runtime.json != nil && r.runtime.bytes == nil {
			t.Errorf("%q is read as %+v", body, r)
		}
		if purpose(r.runtime.bytes) != nil {
			t.Errorf("%q: runtime data of our own protocol", body)
		}
	})
}

// FuzzReport: the document of an SNP report.
func FuzzReport(f *testing.F) {
	f.Add(`{"SnpReport":"AA","VcekCertChain":"AA==","Endorsements":"e30"}`)
	f.Add(`{"snpreport":"-_+/"}`)
	f.Fuzz(func(t *testing.T, doc string) {
		report, ends, err := parseReport(base64.RawURLEncoding.EncodeToString([]byte(doc)))
		if err != nil {
			if release.ReasonOf(err) == release.ReasonInternal {
				t.Errorf("%q: %v", doc, err)
			}
			return
		}
		if len(report) > maxChain || len(ends) > 1 {
			t.Errorf("%q: %d bytes, %d endorsements", doc, len(report), len(ends))
		}
	})
}

// FuzzBinary: base64 has few spellings of the same bytes, and no other bytes.
func FuzzBinary(f *testing.F) {
	for _, s := range []string{"", "AA", "AA==", "-_8=", "+/8", "A===", "AB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := decodeBinary(s, 64)
		if err != nil {
			return
		}
		plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
		if len(b) > 66 || base64.RawStdEncoding.EncodeToString(b) != plain {
			t.Errorf("%q is %x", s, b)
		}
	})
}

// FuzzGuest: the document of the guest client.
func FuzzGuest(f *testing.F) {
	f.Add(`{"AttestationProtocolVersion":"2.0","TpmInfo":{"PcrSet":[0],"PCRs":[{"Index":0,"Digest":"AA=="}]},"IsolationInfo":{"Type":"Tdx","Evidence":{"Proof":"AA==","RunTimeData":"e30="}}}`)
	f.Add(`{"AttestationProtocolVersion":"2.0","ClientPayload":null,"IsolationInfo":{"Type":"SevSnp","Evidence":{"Proof":"e30="}}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		r, err := parseGuest([]byte(`{"attestationinfo":"` + base64.RawURLEncoding.EncodeToString([]byte(doc)) + `"}`))
		if err != nil {
			if release.ReasonOf(err) == release.ReasonInternal {
				t.Errorf("%q: %v", doc, err)
			}
			return
		}
		if len(r.evidence.TPM.PCRs) != 1 || len(r.evidence.TDQuote) > 0 && len(r.evidence.Report) > 0 {
			t.Errorf("%q is read as %+v", doc, r.evidence)
		}
	})
}
