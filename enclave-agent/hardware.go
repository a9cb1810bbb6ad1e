package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
)

// Hardware says which attester this machine has and where. The zero value is what
// [Detect] finds.
type Hardware struct {
	Platform  attest.Type // one of [Platforms], "": detected
	TPM       string      // device or socket, "": /dev/tpmrm0
	EventLog  string      // file, "": the kernel's
	PCRs      Selection   // zero: DefaultSelection
	Simulator string      // socket of `openskr simulate`, for simulated types
	Root      string      // folder that stands for /, "": / itself
	// AKChain is a file of the certificates, PEM or DER, between that of an Azure vTPM's
	// AK and its root; "": brokers have them, or the AK's certificate is not sent.
	AKChain string
	// Notice is told what evidence goes without. nil: nobody.
	Notice func(string)

	akChain []byte // content of AKChain
}

// opener opens the attester of one platform.
type opener struct {
	platform attest.Type
	open     func(ctx context.Context, h *Hardware) (Attester, error)
}

func openers() []opener {
	return []opener{
		{attest.TypeTPM, openTPM},
		{attest.TypeSNP, openSNP},
		{attest.TypeTDX, openTDX},
		{attest.TypeAzureCVM, openAzure},
		{attest.TypeNitro, openNitro},
		{attest.TypeGCE, openGCE},
		{attest.TypeSNP.Simulated(), openSimulated},
		{attest.TypeTDX.Simulated(), openSimulated},
		{attest.TypeNitro.Simulated(), openNitro},
		{attest.TypeAzureCVM.Simulated(), openAzure},
	}
}

// Platforms lists what [Hardware.Platform] may be.
func Platforms() []attest.Type {
	var out []attest.Type
	for _, o := range openers() {
		out = append(out, o.platform)
	}
	return out
}

// path is given, or a path of this machine.
func (h *Hardware) path(given, usual string) string {
	if given != "" {
		return given
	}
	return filepath.Join(h.Root, usual)
}

func (h *Hardware) tpm() string { return h.path(h.TPM, guest.DefaultDevice) }

// Platform is the platform of that name, "" when there is none.
func Platform(name string) attest.Type {
	if t := attest.Type(name); slices.Contains(Platforms(), t) {
		return t
	}
	return ""
}

// open opens the attester that h names, or the one detected. Errors wrap
// [ErrNoHardware] or [ErrConfig].
func (h Hardware) open(ctx context.Context) (Attester, error) {
	if h.PCRs.Bank == "" && h.PCRs.PCRs == nil {
		h.PCRs = DefaultSelection()
	}
	if err := h.PCRs.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if h.Platform == "" {
		d := Detect(ctx, h)
		if d.Platform == "" {
			return nil, d
		}
		h.Platform = d.Platform
	}
	all := openers()
	i := slices.IndexFunc(all, func(o opener) bool { return o.platform == h.Platform })
	if i < 0 {
		return nil, fmt.Errorf("%w: platform %.32q: want one of %v", ErrConfig, h.Platform, Platforms())
	}
	if _, simulated := h.Platform.Base(); simulated != (h.Simulator != "") {
		return nil, fmt.Errorf("%w: a simulated platform and the socket of its simulator belong together", ErrConfig)
	}
	if err := h.readAKChain(); err != nil {
		return nil, fmt.Errorf("%w: --ak-chain: %w", ErrConfig, err)
	}
	a, err := all[i].open(ctx, &h)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoHardware, h.Platform, err)
	}
	return a, nil
}

// maxAKChain bounds the file of [Hardware.AKChain], in bytes.
const maxAKChain = 64 << 10

func (h *Hardware) readAKChain() (err error) {
	if h.AKChain == "" {
		return nil
	}
	if base, _ := h.Platform.Base(); base != attest.TypeAzureCVM {
		return fmt.Errorf("only machines of %s have one, and this is %s", attest.TypeAzureCVM, h.Platform)
	}
	if h.akChain, err = ReadBounded(h.AKChain, maxAKChain); err != nil {
		return err
	}
	if len(h.akChain) > maxAKChain {
		return fmt.Errorf("%s has more than %d bytes", h.AKChain, maxAKChain)
	}
	if _, err := certificates(h.akChain); err != nil { // a broker would refuse all of the evidence
		return fmt.Errorf("%s holds no certificates: %w", h.AKChain, err)
	}
	return nil
}
