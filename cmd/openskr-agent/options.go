package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

const usage = `openskr-agent gets keys for this machine from an OpenSKR broker.

Usage:
  openskr-agent platform                       say what can prove this machine, and why nothing else
  openskr-agent enroll                         prove this machine's TPM; an operator then approves it once
                                               (only where a TPM alone is the proof)
  openskr-agent key get URL --out FILE         get a key into a new file, mode 0600
  openskr-agent key get URL --fd N             get a key into an open file descriptor
  openskr-agent decrypt FILE [--out FILE] [--key URL]
                                               decrypt a file made by openskr encrypt; FILE.skr becomes FILE
  openskr-agent token URL [--out FILE]         get an access token for the vault at URL, which reads there for 15
                                               minutes; printed, or into a new file, mode 0600
  openskr-agent seal-disk DEV --key URL (--recovery-out FILE | --no-recovery)
                                               make a LUKS2 volume that the key at URL opens;
                                               an operator allows it: openskr key grant-format
  openskr-agent seal-disk DEV --key URL --update-header
                                               record its header again, after its slots were changed
  openskr-agent unlock --name NAME             open a sealed disk as /dev/mapper/NAME
  openskr-agent crypttab header NAME|serve|cap NAME
                                               the same for systemd-cryptsetup, in three steps
  openskr-agent evidence [--runtime-data FILE] print evidence of this machine, for openskr evidence verify
  openskr-agent version

Options:
  --config FILE       what to trust, made by openskr init (default /etc/openskr/agent.json)
  --platform TYPE     auto (default), tpm, snp, tdx, azure-cvm, nitro, gce, or
                      simulated-snp, -tdx, -nitro, -azure-cvm
  --tpm PATH          TPM device, or socket of a software TPM (default /dev/tpmrm0)
  --eventlog FILE     event log of the firmware (default: the kernel's)
  --ak-chain FILE     in Azure: certificates between that of the vTPM's AK and Microsoft's root, where
                      brokers do not have them
  --simulator SOCKET  of openskr simulate, for the simulated platforms
  --state DIR         keep a TPM's AK certificate there, so that not every run enrols
  --recipient KIND    hybrid (ML-KEM-768 + P-256, default), p256 or rsa
  --pcrs LIST         PCRs of a TPM to prove, as 0,1,7 or sha384:0,1,7 (default sha256:0,…,15)
  --allow-swap        hold keys though they could be swapped to a disk that is not encrypted
  --timeout DURATION  give up after this time, retries included (default 1m0s; unlock and crypttab: 10m0s)
  --json              print results and errors as JSON

Disks:
  --erase             of seal-disk: though there is something on the disk
  --recovery-out FILE new file for the recovery key; without it a terminal shows the key, once
  --no-recovery       no recovery key: a disk whose key is not released is lost
  --token FILE        an operator's access token, to record the header with the key at once
  --disks FILE        which disks there are (default /etc/openskr/disks.json)
  --device DEV, --key URL, --recovery prompt|off, --cap PCR, --cap-rtmr N, --no-cap
                      of unlock: instead of what disks.json says of the disk
  --power-off         power the machine off when a volume stays closed

A key is the raw bytes of a symmetric key, or PKCS #8 DER of an RSA or EC key. It is
never shown on a terminal.

Exit codes:
  0  done                          4  no hardware to prove anything with, or no right to it
  1  failed                        5  no broker reached in time
  2  wrong usage or configuration  6  the broker's answer or receipt does not check out
  3  refused by the broker         7  this machine waits for approval
                                   8  the disk is not what was sealed
`

var errHelp = errors.New("help")

// options is a parsed command line.
type options struct {
	command                              string
	url, file                            string // argument of key get, of decrypt
	config, state, platform              string
	out, key, runtimeData, pcrList, kind string
	fd                                   int
	timeout                              time.Duration
	json, allowSwap                      bool
	recipient                            agent.RecipientKind
	hardware                             agent.Hardware
	disk                                 diskOptions
}

// only says which options belong to which command; the others belong to all.
var only = map[string][]string{
	"out": {"key get", "decrypt", "token"}, "fd": {"key get"}, "key": {"decrypt", "seal-disk", "unlock"}, "runtime-data": {"evidence"},
	"platform": proving, "simulator": proving, "ak-chain": proving,

	"erase": {"seal-disk"}, "recovery-out": {"seal-disk"}, "no-recovery": {"seal-disk"}, "token": {"seal-disk"}, "update-header": {"seal-disk"},
	"name": {"unlock"}, "device": {"unlock"}, "recovery": {"unlock"}, "cap": {"unlock"}, "cap-rtmr": {"unlock"}, "no-cap": {"unlock"},
	"disks": {"unlock", "crypttab header", "crypttab serve", "crypttab cap"}, "power-off": {"unlock", "crypttab serve"},
}

// proving are the commands that show evidence.
var proving = []string{"enroll", "key get", "decrypt", "token", "evidence", "seal-disk", "unlock", "crypttab serve", "crypttab cap"}

// parse reads a command line; options may stand anywhere.
func parse(args []string) (*options, error) {
	o := &options{fd: -1}
	fs := flag.NewFlagSet("openskr-agent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.config, "config", "/etc/openskr/agent.json", "")
	fs.StringVar(&o.platform, "platform", "auto", "")
	fs.StringVar(&o.hardware.TPM, "tpm", "", "")
	fs.StringVar(&o.hardware.EventLog, "eventlog", "", "")
	fs.StringVar(&o.hardware.Simulator, "simulator", "", "")
	fs.StringVar(&o.hardware.AKChain, "ak-chain", "", "")
	fs.StringVar(&o.state, "state", "", "")
	fs.StringVar(&o.kind, "recipient", "hybrid", "")
	fs.StringVar(&o.pcrList, "pcrs", "", "")
	fs.DurationVar(&o.timeout, "timeout", agent.DefaultTimeout, "")
	fs.BoolVar(&o.json, "json", false, "")
	fs.BoolVar(&o.allowSwap, "allow-swap", false, "")
	fs.StringVar(&o.out, "out", "", "")
	fs.IntVar(&o.fd, "fd", -1, "")
	fs.StringVar(&o.key, "key", "", "")
	fs.StringVar(&o.runtimeData, "runtime-data", "", "")
	o.disk.register(fs)
	words, err := interspersed(fs, args)
	if err != nil {
		return nil, err
	}
	if err := o.arguments(words); err != nil {
		return nil, err
	}
	fs.Visit(func(f *flag.Flag) {
		if cmds := only[f.Name]; cmds != nil && !slices.Contains(cmds, o.command) && err == nil {
			err = fmt.Errorf("--%s does not belong to %s", f.Name, o.command)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := o.disk.visit(fs, o); err != nil {
		return nil, err
	}
	return o, o.values()
}

// interspersed parses options before, between and after words.
func interspersed(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errHelp
			}
			return nil, err
		}
		if args = fs.Args(); len(args) == 0 {
			return words, nil
		}
		words, args = append(words, args[0]), args[1:]
	}
}

// arguments reads the command and its arguments.
func (o *options) arguments(words []string) error {
	if len(words) == 0 || words[0] == "help" {
		return errHelp
	}
	o.command, words = words[0], words[1:]
	switch o.command {
	case "enroll", "evidence", "platform", "version":
		if len(words) > 0 {
			return fmt.Errorf("%s takes no argument", o.command)
		}
	case "key":
		if len(words) != 2 || words[0] != "get" {
			return errors.New("usage: key get URL --out FILE")
		}
		o.command, o.url = "key get", words[1]
	case "token":
		if len(words) != 1 {
			return errors.New("usage: token URL [--out FILE], where URL is that of a vault")
		}
		o.url = words[0]
	case "decrypt":
		if len(words) != 1 {
			return errors.New("usage: decrypt FILE [--out FILE] [--key URL]")
		}
		o.file = words[0]
	case "seal-disk", "unlock", "crypttab":
		return o.disk.arguments(o, words)
	default:
		return fmt.Errorf("unknown command %.64q", o.command)
	}
	return nil
}

// values checks what the options say.
func (o *options) values() (err error) {
	if o.timeout <= 0 {
		return errors.New("--timeout must be positive")
	}
	switch o.recipient = agent.RecipientKind(o.kind); o.recipient {
	case agent.Hybrid, agent.P256, agent.RSA:
	default:
		return fmt.Errorf("--recipient %.32q: want hybrid, p256 or rsa", o.kind)
	}
	if o.hardware.PCRs, err = agent.ParsePCRs(o.pcrList); err != nil {
		return fmt.Errorf("--pcrs: %w", err)
	}
	if o.platform != "auto" {
		if o.hardware.Platform = agent.Platform(o.platform); o.hardware.Platform == "" {
			return fmt.Errorf("--platform %.32q: want auto or one of %v", o.platform, agent.Platforms())
		}
	}
	if simulated := strings.HasPrefix(o.platform, "simulated-"); simulated != (o.hardware.Simulator != "") {
		return errors.New("--simulator SOCKET and --platform simulated-… belong together")
	}
	switch {
	case o.command == "key get" && (o.out == "") == (o.fd < 0):
		return errors.New("key get needs one of --out FILE and --fd N")
	case o.command == "key get" && o.json && o.fd == 1:
		return errors.New("--json and --fd 1 would mix key and report")
	case o.command == "token" && o.json && o.out == "":
		return errors.New("--json needs --out FILE: token and report would mix")
	case o.command == "decrypt" && o.out == "":
		var ok bool
		if o.out, ok = strings.CutSuffix(o.file, ".skr"); !ok || o.out == "" {
			return errors.New("decrypt needs --out FILE when the name does not end in .skr")
		}
	}
	return nil
}
