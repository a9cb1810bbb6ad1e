package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/release/receipt"
)

func newLogCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "log", Short: "Read, prove and verify the log of decisions",
		Long: `Every decision on a key and every change of keys, policies, machines and settings is
an entry of one append-only log (docs/audit-record.md). Keep checkpoints: whoever holds
an older one notices when the log was rolled back or rewritten.`,
	})
	cmd.AddCommand(newLogTailCmd(a), newLogShowCmd(a), newLogRefusalsCmd(a), newLogVerifyCmd(a), newLogProveCmd(a), newLogExportCmd(a), newLogAcceptCmd(a))
	return cmd
}

// checkpoint gives the broker's checkpoint and its size, both unverified.
func (c *client) checkpoint(ctx context.Context) (text string, size int64, err error) {
	var b []byte
	if err := c.call(ctx, http.MethodGet, "/v1/log/checkpoint", nil, &b); err != nil {
		return "", 0, err
	}
	lines := strings.SplitN(string(b), "\n", 3)
	if len(lines) == 3 {
		size, err = strconv.ParseInt(lines[1], 10, 64)
	}
	if len(lines) < 3 || err != nil || size < 0 {
		return "", 0, errors.New("the broker's answer is not a checkpoint")
	}
	return string(b), size, nil
}

// entries gives the leaves [start, end) in order.
func (c *client) entries(ctx context.Context, start, end int64) iter.Seq2[receipt.Copied, error] {
	return func(yield func(receipt.Copied, error) bool) {
		for start < end {
			var got v1.Entries
			path := fmt.Sprintf("/v1/log/entries?start=%d&limit=%d", start, min(end-start, v1.MaxPage))
			err := c.call(ctx, http.MethodGet, path, nil, &got)
			if err == nil && (got.Start != start || len(got.Leaves) == 0) {
				err = fmt.Errorf("the broker gives no entry %d of a log of %d", start, end)
			}
			if err != nil {
				yield(receipt.Copied{}, err)
				return
			}
			for _, leaf := range got.Leaves {
				if start == end || !yield(receipt.Copied{Index: start, Leaf: leaf, Hash: tlog.RecordHash(leaf)}, nil) {
					return
				}
				start++
			}
		}
	}
}

func newLogProveCmd(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "prove N", Short: "Write the receipt of an entry", Args: exactArgs("N"),
		Long: `Writes a receipt: the entry, its path in the Merkle tree and the signed checkpoint.
Anyone with the log's key verifies it, without the broker: openskr log verify --receipt.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			index, err := indexArg(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			r, err := c.prove(cmd.Context(), index)
			if err != nil {
				return err
			}
			b, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := a.output(out, append(b, '\n')); err != nil || out == "" || out == "-" {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"index": index, "receipt": out})
			}
			_, err = fmt.Fprintf(a.stdout, "receipt of entry %d in %s\n", index, out)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for the receipt (default stdout)")
	return cmd
}

func indexArg(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, usagef("entry %q: want its index, a number from 0", s)
	}
	return n, nil
}

// prove assembles the receipt of an entry.
func (c *client) prove(ctx context.Context, index int64) (*receipt.Receipt, error) {
	text, size, err := c.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if index >= size {
		return nil, usagef("the log has %d entries, the last one is %d", size, size-1)
	}
	r := &receipt.Receipt{Index: index, Path: [][]byte{}, Checkpoint: text}
	for e, err := range c.entries(ctx, index, index+1) {
		if err != nil {
			return nil, err
		}
		r.Leaf = e.Leaf
	}
	var p v1.Proof
	if err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/log/proof?index=%d&size=%d", index, size), nil, &p); err != nil {
		return nil, err
	}
	for _, h := range p.Path {
		r.Path = append(r.Path, h)
	}
	return r, nil
}

func newLogExportCmd(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "export", Short: "Copy the log and its checkpoint into a new folder", Args: exactArgs(),
		Long: `Writes DIR/entries.jsonl and DIR/checkpoint. Verify the copy anywhere, any time:
openskr log verify --log DIR/entries.jsonl --checkpoint DIR/checkpoint --vkey FILE`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("--out DIR is missing")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			size, err := c.export(cmd.Context(), out)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"entries": size, "dir": out})
			}
			_, err = fmt.Fprintf(a.stdout, "%d entries in %s\n", size, filepath.Join(out, "entries.jsonl"))
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `DIR`")
	return cmd
}

// exportLine is a line of entries.jsonl, in the exact form that package audit
// writes and accepts.
type exportLine struct {
	Index int64           `json:"index"`
	Hash  receipt.Digest  `json:"hash"`
	Leaf  json.RawMessage `json:"leaf"`
}

func (c *client) export(ctx context.Context, dir string) (size int64, err error) {
	text, size, err := c.checkpoint(ctx)
	if err != nil {
		return 0, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "entries.jsonl"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for e, err := range c.entries(ctx, 0, size) {
		if err != nil {
			return 0, err
		}
		if err := printJSON(f, exportLine{e.Index, receipt.Digest(e.Hash), e.Leaf}); err != nil {
			return 0, err
		}
	}
	return size, os.WriteFile(filepath.Join(dir, "checkpoint"), []byte(text), 0o600)
}
