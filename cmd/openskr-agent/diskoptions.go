package main

import (
	"errors"
	"flag"
	"strings"

	"github.com/openskr/openskr/enclave-agent/boot"
)

// diskOptions are those of seal-disk, unlock and crypttab.
type diskOptions struct {
	device, name, disks      string
	recoveryOut, token       string
	noRecovery, erase        bool
	updateHeader, powerOff   bool
	recovery                 string
	cap, capRTMR             int
	noCap                    bool
	recoverySet, capSet, key bool // given on the command line
}

func (d *diskOptions) register(fs *flag.FlagSet) {
	fs.StringVar(&d.recoveryOut, "recovery-out", "", "")
	fs.StringVar(&d.token, "token", "", "")
	fs.BoolVar(&d.noRecovery, "no-recovery", false, "")
	fs.BoolVar(&d.erase, "erase", false, "")
	fs.BoolVar(&d.updateHeader, "update-header", false, "")
	fs.StringVar(&d.name, "name", "", "")
	fs.StringVar(&d.device, "device", "", "")
	fs.StringVar(&d.disks, "disks", boot.DefaultDisks, "")
	fs.StringVar(&d.recovery, "recovery", string(boot.Prompt), "")
	fs.IntVar(&d.cap, "cap", 0, "")
	fs.IntVar(&d.capRTMR, "cap-rtmr", 0, "")
	fs.BoolVar(&d.noCap, "no-cap", false, "")
	fs.BoolVar(&d.powerOff, "power-off", false, "")
}

// visit notes what was given, and lets commands that open disks wait longer.
func (d *diskOptions) visit(fs *flag.FlagSet, o *options) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	d.recoverySet, d.capSet, d.key = given["recovery"], given["cap"], given["key"]
	if !given["timeout"] && (o.command == "unlock" || strings.HasPrefix(o.command, "crypttab")) {
		o.timeout = boot.DefaultTimeout
	}
	switch {
	case o.command == "seal-disk" && o.key == "":
		return errors.New("seal-disk needs --key URL")
	case d.noRecovery && d.recoveryOut != "":
		return errors.New("--no-recovery and --recovery-out exclude each other")
	case d.updateHeader && (d.erase || d.noRecovery || d.recoveryOut != ""):
		return errors.New("--update-header goes with --key and --token alone")
	case o.command == "unlock" && d.name == "":
		return errors.New("unlock needs --name NAME")
	case (d.capSet || d.capRTMR != 0) && d.noCap:
		return errors.New("--cap or --cap-rtmr, and --no-cap exclude each other")
	}
	return nil
}

// arguments reads what follows the command.
func (d *diskOptions) arguments(o *options, words []string) error {
	switch {
	case o.command == "seal-disk" && len(words) == 1:
		o.file = words[0]
	case o.command == "unlock" && len(words) == 0:
	case o.command == "crypttab" && len(words) == 1 && words[0] == "serve":
		o.command = "crypttab serve"
	case o.command == "crypttab" && len(words) == 2 && (words[0] == "header" || words[0] == "cap"):
		o.command, d.name = "crypttab "+words[0], words[1]
	case o.command == "seal-disk":
		return errors.New("usage: seal-disk DEVICE --key URL")
	case o.command == "unlock":
		return errors.New("usage: unlock --name NAME [--device DEV --key URL]")
	default:
		return errors.New("usage: crypttab serve, crypttab header NAME or crypttab cap NAME")
	}
	return nil
}
