package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
	"github.com/openskr/openskr/enclave-agent/blob"
	"github.com/openskr/openskr/enclave-agent/cse"
)

func (a *app) encryptCmd() *cobra.Command {
	o := &blobOptions{}
	c := &cobra.Command{
		Use: "encrypt SRC [DST]", Short: "Encrypt a blob to a key that machines get released",
		Long: `Encrypts SRC to DST as Azure's storage SDKs do on the client side, version 2.0; they read it, too.
--public-key wraps to the public half of an RSA key: no broker, no hardware, on any machine. --key gets
the key released to this machine, RSA or symmetric. Without DST it is SRC.cse.

` + blobNames,
		Example: "  openskr key show models --json > models.json\n" +
			"  openskr-workload encrypt weights.bin azblob://models/weights.bin --public-key models.json\n" +
			"  openskr-workload encrypt result.csv s3://results/result.csv --key https://vault.example/keys/results",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dst, err := target(args, func(src string) string { return src + ".cse" })
			if err != nil {
				return err
			}
			if (o.key == "") == (o.public == "") {
				return fmt.Errorf("%w: give --key URL or --public-key FILE", agent.ErrConfig)
			}
			if dst == "-" && o.metadata == "" {
				return fmt.Errorf("%w: standard output has no place for the blob's metadata: give --metadata FILE", agent.ErrConfig)
			}
			return a.encrypt(cmd.Context(), args[0], dst, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.key, "key", "", "`URL` of the key, released to this machine; without a version its latest")
	f.StringVar(&o.public, "public-key", "", "`FILE` with an RSA key as openskr key show NAME --json prints it")
	f.StringVar(&o.metadata, "metadata", "", "new `FILE` for the metadata, instead of with the blob")
	return c
}

func (a *app) encrypt(ctx context.Context, from, to string, o *blobOptions) (err error) {
	store := blob.New(a.stdin, a.stdout)
	src, err := interruptible(ctx, func() (*blob.Source, error) { return store.Open(ctx, from) })
	if err != nil {
		return asConfig(err)
	}
	defer src.Close() //nolint:errcheck // nothing was written to it
	data, key, released, err := a.contentKey(ctx, o)
	if err != nil {
		return err
	}
	version, _ := agent.BuildInfo()
	doc, err := data.Marshal("OpenSKR " + version)
	if err != nil {
		return err
	}
	dst, err := create(ctx, store, to, string(doc), o, src.Size)
	if err != nil {
		return asConfig(err)
	}
	p := a.watch(src, src.Size)
	defer p.end()
	n, err := key.Encrypt(ctx, dst, p)
	if err != nil {
		return errors.Join(err, dst.Abort())
	}
	if err := dst.Commit(); err != nil {
		return err
	}
	p.end()
	return a.blobReport(&blobReport{Source: from, Target: to, Format: formatCSE, Bytes: n, KID: data.KeyID}, released)
}

// contentKey makes the key of the blob, wrapped to the key that was named. released is
// nil when no broker was asked.
func (a *app) contentKey(ctx context.Context, o *blobOptions) (data *cse.EncryptionData, key *cse.ContentKey, released *agent.Released, err error) {
	if o.public != "" {
		b, err := agent.ReadBounded(o.public, ageplugin.MaxPublicKey)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%w: --public-key: %w", agent.ErrConfig, err)
		}
		r, err := ageplugin.ParsePublicKey(b)
		if err != nil {
			return nil, nil, nil, err
		}
		data, key, err = wrapRSA(r)
		return data, key, nil, err
	}
	keys, err := a.keys(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	rel, err := keys.get(ctx, o.key)
	if err = errors.Join(err, keys.close()); err != nil {
		return nil, nil, nil, err
	}
	agent.Erasing(func() { data, key, err = wrapReleased(rel) })
	return data, key, rel, errors.Join(err, rel.Material.Close())
}

func wrapRSA(r *ageplugin.Recipient) (*cse.EncryptionData, *cse.ContentKey, error) {
	if r.RSA() == nil {
		return nil, nil, fmt.Errorf("%w: %s is an EC key: Azure's format wraps with RSA or symmetric keys", agent.ErrConfig, r.Key())
	}
	w, err := cse.NewRSAWrapper(r.RSA())
	if err != nil {
		return nil, nil, err
	}
	return cse.New(r.Key(), w)
}

func wrapReleased(rel *agent.Released) (*cse.EncryptionData, *cse.ContentKey, error) {
	if rel.Kty != "oct" {
		r, err := ageplugin.RecipientOf(rel)
		if err != nil {
			return nil, nil, err
		}
		return wrapRSA(r)
	}
	w, err := cse.NewAESWrapper(rel.Material.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return cse.New(rel.KID, w)
}

// create begins the blob, its metadata with it or in a file of its own.
func create(ctx context.Context, store *blob.Store, to, doc string, o *blobOptions, size int64) (blob.Target, error) {
	if o.metadata == "" {
		return store.Create(ctx, to, blob.Options{Size: size, Metadata: map[string]string{cse.MetadataName: doc}})
	}
	if !blob.Local(o.metadata) {
		return nil, fmt.Errorf("%w: --metadata %.256q: want a file", agent.ErrConfig, o.metadata)
	}
	m, err := store.Create(ctx, o.metadata, blob.Options{})
	if err != nil {
		return nil, err
	}
	dst, err := store.Create(ctx, to, blob.Options{Size: size})
	if err == nil {
		_, err = io.WriteString(m, doc)
	}
	if err != nil {
		if dst != nil {
			err = errors.Join(err, dst.Abort())
		}
		return nil, errors.Join(err, m.Abort())
	}
	return pair{dst, m}, nil
}

// pair is a blob with its metadata in another place, which is there first.
type pair struct {
	blob.Target
	metadata blob.Target
}

func (p pair) Commit() error {
	if err := p.metadata.Commit(); err != nil {
		return errors.Join(err, p.Target.Abort())
	}
	return p.Target.Commit()
}

func (p pair) Abort() error { return errors.Join(p.Target.Abort(), p.metadata.Abort()) }
