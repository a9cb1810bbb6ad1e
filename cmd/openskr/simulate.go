package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/simulate"
)

// simulateFlags are those of `simulate`.
type simulateFlags struct {
	seed, socket, tpm, measurement string
	debug                          bool
}

func newSimulateCmd(a *app) *cobra.Command {
	var f simulateFlags
	kinds := strings.Join(simulate.Kinds(), "|")
	cmd := &cobra.Command{
		Use: "simulate " + kinds, Short: "Play the hardware of a confidential machine, for a simulation", Args: exactArgs(kinds),
		Long: `Plays the hardware of a confidential machine until it is stopped, as swtpm plays a
TPM: openskr-agent --platform simulated-… --simulator SOCKET asks it for evidence.
Only a deployment made with init --simulation believes it, and only that whose seed
it has; every record of such a deployment says so.

An azure machine needs a software TPM as its vTPM (--tpm), in which it replaces the
NV index and the key that such machines have.`,
		Example: `  openskr simulate snp --seed DIR/simulation.seed --socket /run/snp.sock`,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.simulate(cmd, args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.seed, "seed", "", "`FILE` that init --simulation made: "+simulate.SeedFile+" in its data folder (required)")
	fl.StringVar(&f.socket, "socket", "", "Unix `SOCKET` to make, for its owner only (required)")
	fl.StringVar(&f.tpm, "tpm", "", "`SOCKET` of the software TPM that becomes an azure machine's vTPM")
	fl.StringVar(&f.measurement, "measurement", "", "`HEX`, 48 bytes, of what was launched instead of the usual (Nitro: PCR 0)")
	fl.BoolVar(&f.debug, "debug", false, "a machine that can be debugged, to see it refused")
	return cmd
}

func (a *app) simulate(cmd *cobra.Command, kind string, f simulateFlags) error {
	if f.seed == "" || f.socket == "" {
		return usagef("simulate: --seed FILE and --socket PATH are required")
	}
	o := simulate.Options{TPM: f.tpm, Debug: f.debug}
	if f.measurement != "" {
		var err error
		if o.Measurement, err = hex.DecodeString(f.measurement); err != nil {
			return usagef("--measurement %.128q: want hex", f.measurement)
		}
	}
	seed, err := simulate.ReadSeed(f.seed)
	if err != nil {
		return unreadable(err)
	}
	d, err := simulate.New(kind, seed, o)
	if err != nil {
		return usagef("simulate: %w", err)
	}
	l, err := simulate.Listen(f.socket)
	if err != nil {
		return err
	}
	defer l.Close()
	if a.json {
		err = printJSON(a.stdout, map[string]any{"type": d.Type, "socket": f.socket})
	} else {
		_, err = fmt.Fprintf(a.stdout, "%s at %s\n", d.Type, f.socket)
	}
	if err != nil {
		return err
	}
	return d.Serve(cmd.Context(), l)
}
