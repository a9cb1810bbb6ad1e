package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/uki"
)

func newReferenceFromEvidenceCmd(a *app) *cobra.Command {
	var s span
	var set, roots string
	var kinds []string
	cmd := &cobra.Command{
		Use: "from-evidence FILE", Short: "Add the measurements of a known-good machine", Args: exactArgs("FILE"),
		Long: `Adds measurements of a machine that you know to be good. FILE is what
` + "`openskr evidence verify --json`" + ` printed, or what ` + "`openskr-agent evidence`" + ` printed, which
is verified as that command does it: give --ak-roots for the chain of a TPM's key.

Without --kinds, what the ready policies read: of a TPM the PCRs 0, 2, 4, 7, 8, 9, 11, 12 and
14, as far as they are quoted; launch measurement, ID key and chip of SEV-SNP (no chip of an
Azure machine, which moves between hosts); MRTD and RTMR 0 to 2 of TDX; MRENCLAVE of SGX;
PCR 0, 1, 2 and 8 of a Nitro enclave. Others (firmware settings, IMA) change from boot to
boot or from machine to machine, and have to be named, and so has a register that is zero,
but for PCR 11, 12 and 14: into it nothing was measured, here and on many other machines.

Evidence of simulated hardware: give the output of ` + "`openskr evidence verify --simulation`" + `.`,
		Example: `  openskr-agent evidence > good.json    # on the machine
  openskr reference from-evidence good.json --set web --kinds pcr4,pcr7,pcr11 --label "image 42"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if set == "" {
				return usagef("%s: --set is needed", cmd.CommandPath())
			}
			claims, err := a.claimsOf(cmd.Context(), args[0], roots)
			if err != nil {
				return err
			}
			entries, err := pick(measurements(claims), kinds)
			if err != nil {
				return err
			}
			if err := s.over(entries); err != nil {
				return err
			}
			return a.addReferences(cmd.Context(), set, entries, s.replace)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&set, "set", "", "`SET` to add to (required)")
	cmd.Flags().StringSliceVar(&kinds, "kinds", nil, "`KIND`s to take, with commas between")
	cmd.Flags().StringVar(&roots, "ak-roots", "", "`DIR` (or file) of CA certificates that the key of a TPM must chain to")
	return cmd
}

// claimsOf gives the claims of a verification that said yes, or verifies evidence.
func (a *app) claimsOf(ctx context.Context, path, roots string) (attest.Claims, error) {
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	var head struct {
		Verified *bool       `json:"verified"`
		Type     attest.Type `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, unreadable(fmt.Errorf("%s: neither evidence nor a verification: %w", path, err))
	}
	if head.Verified == nil {
		// One verifier and one output for both, so that no way in is weaker.
		sub := &app{stdin: bytes.NewReader(b), stderr: a.stderr, json: true}
		var out bytes.Buffer
		sub.stdout = &out
		if err := sub.verifyEvidence(ctx, &evidenceFlags{typ: string(head.Type), body: "-", akRoots: roots}); err != nil {
			return nil, err
		}
		b = out.Bytes()
	}
	var v verification
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	switch err := d.Decode(&v); {
	case err != nil:
		return nil, unreadable(fmt.Errorf("%s: %w", path, err))
	case !v.Verified:
		return nil, refused(attest.Reject(v.Check, "%s: this evidence was refused", path))
	}
	if v.Chain != attest.Checked {
		fmt.Fprintln(a.stderr, "note: the chain of the key that signed was not checked; anything can have made these values")
	}
	return v.Claims, nil
}

// taken is a measurement found in claims.
type taken struct {
	kind, value string
	usual       bool // taken without --kinds
}

// measurements finds the values that references can be of.
func measurements(c attest.Claims) (out []taken) {
	put := func(kind string, v any, usual bool) {
		if s, ok := v.(string); ok && s != "" {
			// Zero says that nothing was measured, which many another machine can say too. Of
			// PCR 11, 12 and 14 it is what policies ask for: no image, options or keys beside.
			says := strings.Trim(s, "0") != "" || slices.Contains([]string{"pcr11", "pcr12", "pcr14"}, kind)
			out = append(out, taken{kind, s, usual && says})
		}
	}
	// Azure has the claims of the hardware below one of its own.
	_, moves := c["azure"] // from one host to the next
	for i, c := range []map[string]any{c, object(c["x-ms-isolation-tee"])} {
		for claim, kind := range usualClaims() {
			put(kind, c[claim], true)
		}
		for claim, kind := range namedClaims() {
			put(kind, c[claim], false)
		}
		put("chip", object(c["snp"])["chip_id"], i == 0 && !moves)
	}
	tpm, nitro := object(c["tpm"]), object(c["nitro"])
	put("ek", tpm["ek"], false)
	put("tpm_firmware", tpm["firmware_version"], false)
	put("cmdline", object(c["boot"])["cmdline"], false)
	banks := object(tpm["pcrs"])
	for _, values := range []any{banks["sha256"], banks["sha384"], nitro["nitrotpm_pcrs"]} {
		for i, v := range object(values) {
			put("pcr"+i, v, slices.Contains([]string{"0", "2", "4", "7", "8", "9", "11", "12", "14"}, i))
		}
	}
	for i, v := range object(nitro["pcrs"]) {
		put("nitro-pcr"+i, v, slices.Contains([]string{"0", "1", "2", "8"}, i))
	}
	slices.SortFunc(out, func(a, b taken) int { return strings.Compare(a.kind+"/"+a.value, b.kind+"/"+b.value) })
	return out
}

// usualClaims are measurements of what was started, with the kinds of their values.
func usualClaims() map[string]string {
	return map[string]string{
		"x-ms-sevsnpvm-launchmeasurement": "snp-measurement", "tdx_mrtd": "mrtd", "tdx_rtmr0": "rtmr0", "tdx_rtmr1": "rtmr1",
		"tdx_rtmr2": "rtmr2", "x-ms-sgx-mrenclave": "mrenclave", "x-ms-sevsnpvm-idkeydigest": "snp-id-key",
	}
}

// namedClaims say who vouched, or change from one machine to the next.
func namedClaims() map[string]string {
	return map[string]string{
		"x-ms-sevsnpvm-hostdata": "snp-host-data", "x-ms-sevsnpvm-authorkeydigest": "snp-author-key",
		"tdx_rtmr3": "rtmr3", "tdx_mrseam": "mrseam", "tdx_mrsignerseam": "mrsignerseam", "tdx_mrconfigid": "mrconfigid", "tdx_mrowner": "mrowner",
		"tdx_mrownerconfig": "mrownerconfig", "x-ms-sgx-mrsigner": "mrsigner",
	}
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// pick takes the named kinds, each of which must be there, or the usual ones.
func pick(all []taken, kinds []string) ([]v1.ReferenceEntry, error) {
	var out []v1.ReferenceEntry
	have := map[string]bool{}
	for _, t := range all {
		have[t.kind] = true
		if slices.Contains(kinds, t.kind) || len(kinds) == 0 && t.usual {
			out = append(out, v1.ReferenceEntry{Kind: t.kind, Value: t.value})
		}
	}
	for _, k := range kinds {
		if !have[k] {
			return nil, usagef("the evidence has no %s", k)
		}
	}
	if len(out) == 0 {
		return nil, usagef("the evidence has no measurement")
	}
	return out, nil
}

func newReferenceFromUKICmd(a *app) *cobra.Command {
	var s span
	u := ukiFlags{}
	cmd := &cobra.Command{
		Use: "from-uki FILE", Short: "Add the PCR values of a unified kernel image", Args: exactArgs("FILE"),
		Long: `Computes what a machine measures that starts FILE, a unified kernel image of
systemd-stub, and adds it.

PCR 11, as systemd-stub extends it: before the first phase and in each phase of --phases.
PCR 4, of a machine whose firmware starts the image from a boot entry, after the programs
of --before if there are any: with the kernel in the image started by the firmware, as
systemd-stub up to 257 has it, and by the stub itself, as later ones do.

PCR 11 alone says nothing about the command line that was added at boot: let the policy
also look at PCR 12 or at the event log (docs/references.md).`,
		Example: "  openskr reference from-uki image.efi --set web --label \"image 42\" --from 2027-02-01",
		RunE: func(cmd *cobra.Command, args []string) error {
			if u.set == "" {
				return usagef("%s: --set is needed", cmd.CommandPath())
			}
			entries, open, err := u.entries(args[0])
			if err != nil {
				return err
			}
			if len(open) > 0 {
				fmt.Fprintf(a.stderr, "note: the command line in %s lacks %s: without them a host tells the machine more than is measured; docs/disks.md, the words against the host\n",
					args[0], strings.Join(open, " "))
			}
			if s.label == "" {
				s.label = filepath.Base(args[0])
			}
			if err := s.over(entries); err != nil {
				return err
			}
			return a.addReferences(cmd.Context(), u.set, entries, s.replace)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&u.set, "set", "", "`SET` to add to (required)")
	cmd.Flags().IntSliceVar(&u.pcrs, "pcrs", []int{4, 11}, "`PCR`s to compute, 4 and 11")
	cmd.Flags().StringVar(&u.bank, "bank", "sha256", "`BANK` of the TPM: sha256 or sha384")
	cmd.Flags().StringSliceVar(&u.phases, "phases", []string{"none", "enter-initrd"}, "`PHASE`s of the boot for PCR 11: none, enter-initrd, leave-initrd, sysinit, ready")
	cmd.Flags().StringArrayVar(&u.before, "before", nil, "`FILE` that firmware starts before the image, such as a shim or systemd-boot (repeatable)")
	return cmd
}

type ukiFlags struct {
	set, bank      string
	pcrs           []int
	phases, before []string
}

// entries are the values of an image, and the words against its host that it lacks.
func (u *ukiFlags) entries(path string) (_ []v1.ReferenceEntry, open []string, err error) {
	h, ok := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384}[u.bank]
	if !ok {
		return nil, nil, usagef("--bank %q: want sha256 or sha384", u.bank)
	}
	b, err := readImage(path)
	if err != nil {
		return nil, nil, err
	}
	image, err := uki.Parse(b)
	if err != nil {
		return nil, nil, unreadable(fmt.Errorf("%s: %w", path, err))
	}
	var out []v1.ReferenceEntry
	add := func(pcr int, events []uki.Event) {
		e := v1.ReferenceEntry{Kind: "pcr" + strconv.Itoa(pcr), Value: hex.EncodeToString(uki.Replay(h, events))}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	for _, pcr := range u.pcrs {
		switch pcr {
		case 4:
			if err := u.pcr4(image, h, add); err != nil {
				return nil, nil, unreadable(fmt.Errorf("%s: %w", path, err))
			}
		case 11:
			for _, phase := range u.phases {
				n := slices.Index(append([]string{"none"}, uki.Phases()...), phase)
				if n < 0 {
					return nil, nil, usagef("--phases %q: want none, %s", phase, strings.Join(uki.Phases(), ", "))
				}
				add(11, image.PCR11(h, uki.Phases()[:n]...))
			}
		default:
			return nil, nil, usagef("--pcrs %d: only 4 and 11 follow from an image", pcr)
		}
	}
	return out, unguarded(image.CommandLine()), nil
}

// unguarded are the words that a command line lacks which keep a host from telling the
// machine, in its firmware or on its disks, more than what is measured.
func unguarded(cmdline string) (missing []string) {
	words := strings.Fields(cmdline)
	for _, w := range []string{"systemd.import_credentials=no", "systemd.gpt_auto=no", "efi=noruntime", "nohibernate", "noresume"} {
		if !slices.Contains(words, w) {
			missing = append(missing, w)
		}
	}
	return missing
}

func (u *ukiFlags) pcr4(image *uki.Image, h crypto.Hash, add func(int, []uki.Event)) error {
	var before [][]byte
	for _, path := range u.before {
		b, err := readImage(path)
		if err != nil {
			return err
		}
		before = append(before, b)
	}
	for _, direct := range []bool{false, true} {
		events, err := image.PCR4(h, direct, before...)
		if err != nil {
			return err
		}
		add(4, events)
	}
	return nil
}

// readImage reads a PE image, which can be larger than other inputs.
func readImage(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, uki.MaxSize+1))
	if err != nil {
		return nil, unreadable(fmt.Errorf("%s: %w", path, err))
	}
	return b, nil
}
