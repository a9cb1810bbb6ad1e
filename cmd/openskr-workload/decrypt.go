package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/blob"
)

const blobNames = `A blob is a file, - (standard input or output), https://HOST/PATH (to read), azblob://CONTAINER/NAME,
s3://BUCKET/NAME or gs://BUCKET/NAME; credentials come from the environment as each cloud's own tools
take them. Of a file, the metadata that Azure stores with a blob is in FILE.encryptiondata.`

// blobOptions are those of decrypt and encrypt.
type blobOptions struct {
	key, metadata, format, public string
	size                          int64
}

func (a *app) decryptCmd() *cobra.Command {
	o := &blobOptions{}
	c := &cobra.Command{
		Use: "decrypt SRC [DST]", Short: "Decrypt a blob with a released key",
		Long: `Decrypts SRC to DST: what Azure's storage SDKs encrypt on the client side (versions 2.0 and 2.1), what
age encrypts, and what openskr encrypt makes. The key is the one that the blob names, or --key.
Nothing appears as DST before all of SRC has authenticated, and nothing is overwritten. Standard output
gets what has authenticated as it comes: only exit code 0 says that this was all.
Without DST it is SRC without .cse, .age or .skr.

` + blobNames,
		Example: "  openskr-workload decrypt azblob://models/weights.bin /run/model/weights.bin\n" +
			"  openskr-workload decrypt 'https://acct.blob.core.windows.net/models/weights.bin?sv=…&sig=…' - | tar x\n" +
			"  openskr-workload decrypt data.age --key https://vault.example/keys/files",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dst, err := target(args, func(src string) string {
				for _, suffix := range []string{".cse", ".age", ".skr"} {
					if s, ok := strings.CutSuffix(src, suffix); ok {
						return s
					}
				}
				return ""
			})
			if err != nil {
				return err
			}
			return a.decrypt(cmd.Context(), args[0], dst, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.key, "key", "", "`URL` of the key to ask for, whatever the blob says")
	f.Int64Var(&o.size, "size", -1, "`BYTES` of plain text there must be: for a blob that cannot prove where it ends")
	f.StringVar(&o.metadata, "metadata", "", "`FILE` with the encryptiondata of an Azure blob")
	f.StringVar(&o.format, "format", "auto", "`FORMAT`: auto, cse (Azure), age or skr")
	return c
}

// target is the name of the result: the second argument, or what one makes of a file's
// name; "" is none.
func target(args []string, name func(src string) string) (string, error) {
	if len(args) == 2 {
		return args[1], nil
	}
	dst := ""
	if blob.Local(args[0]) {
		dst = name(args[0])
	}
	if dst == "" {
		return "", fmt.Errorf("%w: name DST, where the result goes; - is standard output", agent.ErrConfig)
	}
	return dst, nil
}

func (a *app) decrypt(ctx context.Context, from, to string, o *blobOptions) (err error) {
	store := blob.New(a.stdin, a.stdout)
	src, err := interruptible(ctx, func() (*blob.Source, error) { return store.Open(ctx, from) })
	if err != nil {
		return asConfig(err)
	}
	defer src.Close() //nolint:errcheck // nothing was written to it
	p := a.watch(src, src.Size)
	defer p.end()
	in, err := interruptible(ctx, func() (*encrypted, error) { return detect(ctx, src, p, o) })
	if err != nil {
		return err
	}
	dst, err := store.Create(ctx, to, blob.Options{})
	if err != nil {
		return asConfig(err)
	}
	keys, err := a.keys(ctx)
	if err != nil {
		return errors.Join(err, dst.Abort())
	}
	defer func() { err = errors.Join(err, keys.close()) }()
	n, err := interruptible(ctx, func() (int64, error) { return in.decrypt(ctx, dst, keys.get) })
	if err != nil {
		return errors.Join(err, dst.Abort())
	}
	if err := dst.Commit(); err != nil {
		return err
	}
	p.end()
	return a.blobReport(&blobReport{Source: from, Target: to, Format: in.format, Bytes: n}, keys.last)
}

// keys gets keys and remembers the last one for the report.
type keys struct {
	agent *agent.Agent
	last  *agent.Released
}

func (a *app) keys(ctx context.Context) (*keys, error) {
	ag, err := a.agent(ctx)
	if err != nil {
		return nil, err
	}
	return &keys{agent: ag}, nil
}

func (k *keys) get(ctx context.Context, url string) (*agent.Released, error) {
	r, err := k.agent.Key(ctx, url)
	k.last = r
	return r, err
}

func (k *keys) close() error { return k.agent.Close() }

// interruptible gives up what reads from something that gives nothing when ctx ends.
func interruptible[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// asConfig makes a name that nobody can use an error of usage.
func asConfig(err error) error {
	if errors.Is(err, blob.ErrReference) {
		return fmt.Errorf("%w: %w", agent.ErrConfig, err)
	}
	return err
}

// blobReport is what was done, and the proof of the key that it was done with.
type blobReport struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	Format   string `json:"format"`
	Bytes    int64  `json:"bytes"` // of plain text
	KID      string `json:"kid"`
	LogIndex *int64 `json:"log_index,omitempty"` // of a key that was released for it
	Machine  string `json:"machine,omitempty"`
}

// blobReport prints it: beside a result on standard output it goes to standard error.
func (a *app) blobReport(r *blobReport, key *agent.Released) error {
	r.Source, r.Target = withoutQuery(r.Source), withoutQuery(r.Target)
	how := "key " + r.KID
	if key != nil {
		r.KID, r.LogIndex = key.KID, &key.Receipt.Index
		if key.Record.Caller != nil {
			r.Machine = key.Record.Caller.ID
		}
		how = fmt.Sprintf("key %s (log entry %d)", r.KID, key.Receipt.Index)
	}
	b := *a
	if r.Target == "-" {
		b.stdout = a.stderr
	}
	return b.print(r, "%s: %d bytes of plain text, format %s, %s\n", r.Target, r.Bytes, r.Format, how)
}

// withoutQuery takes the signature off a URL; a file's name has none.
func withoutQuery(name string) string {
	if strings.Contains(name, "://") {
		name, _, _ = strings.Cut(name, "?")
	}
	return name
}

// counter counts what is written.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}
