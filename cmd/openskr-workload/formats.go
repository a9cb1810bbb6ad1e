package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
	"github.com/openskr/openskr/enclave-agent/blob"
	"github.com/openskr/openskr/enclave-agent/cse"
	"github.com/openskr/openskr/enclave-agent/file"
)

// Formats of encrypted blobs.
const (
	formatCSE = "cse" // Azure's SDKs
	formatAge = "age"
	formatSKR = "skr" // openskr encrypt
)

// encrypted is a blob whose format is known.
type encrypted struct {
	format string
	// decrypt gets the key and gives the number of plain bytes.
	decrypt func(ctx context.Context, dst io.Writer, key ageplugin.Release) (int64, error)
}

// detect finds the format of a blob: what its metadata says, or else its first bytes.
func detect(ctx context.Context, src *blob.Source, r io.Reader, o *blobOptions) (*encrypted, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	switch o.format {
	case formatCSE:
		return openCSE(ctx, src, in, o)
	case formatAge:
		return openAge(in, o)
	case formatSKR:
		return openSKR(in, o)
	case "auto":
	default:
		return nil, fmt.Errorf("%w: --format %.16q: want auto, cse, age or skr", agent.ErrConfig, o.format)
	}
	head, err := in.Peek(max(ageplugin.HeadSize, len(file.Magic)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case o.metadata != "":
		return openCSE(ctx, src, in, o)
	case bytes.HasPrefix(head, []byte(file.Magic)):
		return openSKR(in, o)
	case ageplugin.IsAge(head):
		return openAge(in, o)
	}
	return openCSE(ctx, src, in, o)
}

func openCSE(ctx context.Context, src *blob.Source, in io.Reader, o *blobOptions) (*encrypted, error) {
	doc, err := encryptionData(ctx, src, o)
	if err != nil {
		return nil, err
	}
	e, err := cse.Parse(doc)
	if err != nil {
		return nil, err
	}
	if src.Size >= 0 && o.size < 0 { // before the key is asked for, not after the last byte
		if _, proven, err := e.PlainSize(src.Size); err != nil {
			return nil, err
		} else if !proven {
			return nil, whole(cse.ErrUnproven)
		}
	}
	url := o.key
	if url == "" {
		if _, _, err := agent.SplitKeyURL(e.KeyID); err != nil {
			return nil, fmt.Errorf("the blob calls its key %.256q, which is no key URL: name the key with --key URL", e.KeyID)
		}
		url = e.KeyID
	}
	return &encrypted{formatCSE, func(ctx context.Context, dst io.Writer, get ageplugin.Release) (int64, error) {
		rel, err := get(ctx, url)
		if err != nil {
			return 0, err
		}
		var key *cse.ContentKey
		agent.Erasing(func() { key, err = e.Unwrap(rel.Material.Bytes()) })
		if err := errors.Join(err, rel.Material.Close()); err != nil {
			return 0, err
		}
		n, err := e.Decrypt(ctx, dst, in, key, o.size)
		return n, whole(err)
	}}, nil
}

// whole says what to do about a blob that cannot prove where it ends.
func whole(err error) error {
	if errors.Is(err, cse.ErrUnproven) {
		return fmt.Errorf("%w: this format does not say where a blob ends whose last region is full; "+
			"if you know from elsewhere how long the plain text is, give --size BYTES", err)
	}
	return err
}

// encryptionData is the metadata of an Azure blob.
func encryptionData(ctx context.Context, src *blob.Source, o *blobOptions) ([]byte, error) {
	if o.metadata != "" {
		b, err := agent.ReadBounded(o.metadata, cse.MaxMetadata)
		if err != nil {
			return nil, fmt.Errorf("%w: --metadata: %w", agent.ErrConfig, err)
		}
		return b, nil
	}
	b, err := src.Metadata(ctx, cse.MetadataName)
	if err == nil && b == nil {
		err = fmt.Errorf("nothing says how this blob is encrypted: it is no file of age or of openskr encrypt, and has no metadata %s; "+
			"of a blob that was downloaded, give it with --metadata FILE", cse.MetadataName)
	}
	return b, err
}

func openAge(in io.Reader, o *blobOptions) (*encrypted, error) {
	if o.key == "" {
		return nil, fmt.Errorf("%w: a file of age does not tell the name of its key: give --key URL", agent.ErrConfig)
	}
	return &encrypted{formatAge, func(ctx context.Context, dst io.Writer, get ageplugin.Release) (int64, error) {
		plain, err := ageplugin.Decrypt(ctx, in, get, o.key)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(dst, plain)
		return n, expect(o, n, err)
	}}, nil
}

func openSKR(in io.Reader, o *blobOptions) (*encrypted, error) {
	f, err := file.Open(in)
	if err != nil {
		return nil, err
	}
	url := o.key
	if url == "" {
		url = f.KeyURL
	}
	return &encrypted{formatSKR, func(ctx context.Context, dst io.Writer, get ageplugin.Release) (int64, error) {
		rel, err := get(ctx, url)
		if err != nil {
			return 0, err
		}
		agent.Erasing(func() { err = f.Unlock(rel.Material.Bytes()) })
		if err := errors.Join(err, rel.Material.Close()); err != nil {
			return 0, err
		}
		c := &counter{Writer: dst}
		err = f.Decrypt(c)
		return c.n, expect(o, c.n, err)
	}}, nil
}

// expect holds the size of plain text against --size.
func expect(o *blobOptions, n int64, err error) error {
	if err == nil && o.size >= 0 && n != o.size {
		return fmt.Errorf("%d bytes of plain text, --size says %d", n, o.size)
	}
	return err
}
