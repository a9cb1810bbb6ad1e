package agent

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	nitro "github.com/openskr/openskr/attest/nitro/format"
	snp "github.com/openskr/openskr/attest/snp/format"
	tdx "github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/internal/strict"
)

// Errors of reports for other programs.
var (
	// ErrPurpose says that runtime data belongs to the protocol between a machine and its
	// broker: over it, no evidence is made for anybody else.
	ErrPurpose = errors.New("runtime data of the broker's own protocol")
	// ErrNoReport says that the evidence of this platform is not one signed report.
	ErrNoReport = errors.New("this platform has no report for others")
)

// HardwareReport is what the hardware signed, as the hardware gave it. Its report data is the
// SHA-256 of the runtime data, and zeros.
type HardwareReport struct {
	Platform attest.Type
	Raw      []byte // ATTESTATION_REPORT of SNP, quote of TDX, COSE document of Nitro
	Chain    []byte // PEM of the certificates that came with it; nil: none did
}

// HardwareReport makes one over another program's runtime data. It refuses runtime data by
// which a broker could take that program for this agent ([ErrPurpose]). On a TPM or a
// composite it is [ErrNoReport].
func (a *Agent) HardwareReport(ctx context.Context, runtimeData []byte) (*HardwareReport, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	return a.report(ctx, runtimeData)
}

func (a *Agent) report(ctx context.Context, runtimeData []byte) (*HardwareReport, error) {
	if err := foreign(runtimeData); err != nil {
		return nil, err
	}
	if base, _ := a.Platform().Base(); base != attest.TypeSNP && base != attest.TypeTDX && base != attest.TypeNitro {
		return nil, fmt.Errorf("%w: %s; openskr-agent evidence gives an auditor what it has", ErrNoReport, a.Platform())
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another request of this program: %w", ctx.Err())
	}
	ev, err := a.device.Evidence(ctx, Ask{RuntimeData: runtimeData}, nil)
	if err != nil {
		return nil, err
	}
	return newReport(&ev)
}

// foreign refuses runtime data that stands for a release or a token of this machine.
func foreign(runtimeData []byte) error {
	if len(runtimeData) == 0 || len(runtimeData) > binding.MaxSize {
		return fmt.Errorf("%w: runtime data of %d bytes, want 1 to %d", ErrConfig, len(runtimeData), binding.MaxSize)
	}
	var doc map[string]jsontext.Value
	if strict.Unmarshal(runtimeData, binding.MaxSize, &doc) != nil {
		if bytes.HasPrefix(bytes.TrimLeft(runtimeData, " \t\r\n"), []byte("{")) { // another parser may read it
			return fmt.Errorf("%w: an object that is not sound JSON", ErrPurpose)
		}
		return nil // a broker does not read it
	}
	for _, member := range reserved() {
		if _, ok := doc[member]; ok { // whatever it says: a later version of the protocol may have more
			return fmt.Errorf("%w: member %s", ErrPurpose, member)
		}
	}
	return nil
}

// reserved are the members by which a broker knows runtime data of its own protocol, and
// the JSON in which an Azure paravisor names the key of its vTPM. A report over the latter
// with a program's own key would make that program an Azure machine of this measurement,
// which quotes what it likes.
func reserved() []string { return []string{"purpose", "vm-configuration"} }

func newReport(ev *attest.Evidence) (*HardwareReport, error) {
	r := &HardwareReport{Platform: ev.Type}
	var err error
	switch base, _ := ev.Type.Base(); base {
	case attest.TypeSNP:
		var e snp.Evidence
		err = strict.Unmarshal(ev.Body, maxAnswer, &e)
		r.Raw = e.Report
	case attest.TypeTDX:
		var e tdx.Evidence
		err = strict.Unmarshal(ev.Body, maxAnswer, &e)
		r.Raw = e.Quote
	default:
		var e nitro.Evidence
		err = strict.Unmarshal(ev.Body, maxAnswer, &e)
		r.Raw = e.Document
	}
	if err != nil {
		return nil, fmt.Errorf("evidence of %s: %w", ev.Type, err)
	}
	for _, e := range ev.Endorsements {
		certs, err := chain(e)
		if err != nil {
			return nil, fmt.Errorf("certificates of the host: %w", err)
		}
		for _, c := range certs {
			r.Chain = append(r.Chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	return r, nil
}

// AttestationToken has the attestation service of broker make a token over runtime
// data: a JWT whose x-ms-runtime is that data, where it is a JSON object. broker is one
// of agent.json's URLs, since it becomes the issuer. SNP and TDX alone: others are
// [ErrNoReport]. Errors are those of [Agent.Key].
func (a *Agent) AttestationToken(ctx context.Context, broker string, runtimeData []byte) (string, error) {
	if !slices.ContainsFunc(a.cfg.Trust.URLs, func(s string) bool { return trimSlash(s) == broker }) {
		return "", fmt.Errorf("%w: broker %.256q is none of agent.json's", ErrConfig, broker)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	a.checkClock()
	r, err := a.report(ctx, runtimeData)
	if err != nil {
		return "", err
	}
	path, body, err := r.request(runtimeData)
	if err != nil {
		return "", err
	}
	var out struct {
		Token string `json:"token"`
	}
	if err := a.post(ctx, broker, path, body, &out); err != nil {
		if f := (*failure)(nil); errors.As(err, &f) {
			return "", fmt.Errorf("%w: %s: %w", ErrUnreachable, broker, err)
		}
		return "", err
	}
	if out.Token == "" {
		return "", invalid("body", "it has no token")
	}
	return out.Token, nil
}

// attestData is runtime data as attestation services take it.
type attestData struct {
	Data     attest.Bytes `json:"data"`
	DataType string       `json:"dataType"`
}

// request is that of Azure Attestation (docs/attestation.md).
func (r *HardwareReport) request(runtimeData []byte) (path string, body []byte, err error) {
	data := attestData{runtimeData, "Binary"}
	var doc jsontext.Value
	if strict.Unmarshal(runtimeData, binding.MaxSize, &doc) == nil && doc.Kind() == '{' {
		data.DataType = "JSON"
	}
	switch base, _ := r.Platform.Base(); base {
	case attest.TypeSNP:
		var report []byte
		report, err = strict.Marshal(struct {
			SnpReport     attest.Bytes
			VcekCertChain attest.Bytes `json:",omitempty"`
		}{r.Raw, r.Chain})
		if err != nil {
			return "", nil, err
		}
		path = "/attest/SevSnpVm"
		body, err = strict.Marshal(struct {
			Report      attest.Bytes `json:"report"`
			RuntimeData attestData   `json:"runtimeData"`
		}{report, data})
	case attest.TypeTDX:
		path = "/attest/TdxVm"
		body, err = strict.Marshal(struct {
			Quote       attest.Bytes `json:"quote"`
			RuntimeData attestData   `json:"runtimeData"`
		}{r.Raw, data})
	default:
		return "", nil, fmt.Errorf("%w: the attestation service takes no evidence of %s", ErrNoReport, r.Platform)
	}
	return path + "?" + url.Values{"api-version": {"2025-06-01"}}.Encode(), body, err
}
