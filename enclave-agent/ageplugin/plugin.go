package ageplugin

import (
	"context"
	"flag"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/plugin"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Main is age-plugin-openskr: it speaks age's plugin protocol on stdin and stdout and
// gives the exit code. args are without the program's name; --age-plugin=… chooses what
// age wants. Errors reach age through the protocol, and by it the user.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p, err := plugin.New(name)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Program, err)
		return agent.ExitFailed
	}
	p.SetIO(stdin, stdout, stderr)
	flags := flag.NewFlagSet(Program, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "%s is started by age. Recipients and identities are made by `openskr-workload age --help`.\n", Program)
	}
	p.RegisterFlags(flags)
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 || flags.NFlag() == 0 {
		flags.Usage()
		return agent.ExitUsage
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) { return decodeRecipient(data) })
	p.HandleIdentityAsRecipient(func([]byte) (age.Recipient, error) {
		return nil, bad("an identity names a key and does not hold its public half: encrypt to what `openskr-workload age recipient` prints")
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) { return pluginIdentity(ctx, p, data) })
	return p.Main()
}

// pluginIdentity hardens the process no sooner than a key is asked for: the notice
// needs the protocol, which carries messages only then.
func pluginIdentity(ctx context.Context, p *plugin.Plugin, data []byte) (age.Identity, error) {
	s, err := decodeSettings(data)
	if err != nil {
		return nil, err
	}
	notice := func(text string) { _ = p.DisplayMessage(text) } // a client that shows none misses a note
	return NewIdentity(ctx, func(ctx context.Context, url string) (*agent.Released, error) {
		if err := agent.Harden(); err != nil {
			return nil, err
		}
		if err := (agent.Swap{Allowed: s.AllowSwap, Notice: notice}).Check(); err != nil {
			return nil, err
		}
		return s.released(ctx, url, notice)
	}, s.Key)
}
