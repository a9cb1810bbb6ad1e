package v1

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// maxEntries bounds the leaves of one answer in bytes.
const maxEntries = 1 << 20

// Entries answers GET /v1/log/entries: leaves from index Start on, perhaps fewer
// than asked for, none past the end.
type Entries struct {
	Start  int64          `json:"start"`
	Leaves []attest.Bytes `json:"leaves"`
}

// Proof answers GET /v1/log/proof: the inclusion proof of RFC 6962 §2.1.1.
type Proof struct {
	Index int64          `json:"index"`
	Size  int64          `json:"size"`
	Path  []attest.Bytes `json:"path"`
}

// Decision answers GET /v1/log/decisions/{index}: what was decided, on what, and
// why.
type Decision struct {
	Index       int64          `json:"index"`
	Record      jsontext.Value `json:"record"`
	Input       jsontext.Value `json:"input,omitempty"`
	Policy      *Policy        `json:"policy,omitempty"`
	Explanation any            `json:"explanation,omitempty"` // of a denial by the policy
	// Refusal says of a denial what failed. No record covers it.
	Refusal *release.Refusal `json:"refusal,omitempty"`
	// Note says why there is neither: "no_input" (nothing was kept) or "policy_gone".
	Note string `json:"note,omitempty"`
}

// Policy is the release policy of a decision, kept also when the key has another one.
type Policy struct {
	ContentType string       `json:"content_type"`
	Data        attest.Bytes `json:"data"`
}

func (d *door) checkpoint(context.Context, *route.Call) (any, error) {
	text := d.Log.Checkpoint()
	if text == "" {
		return nil, release.Refuse(release.ReasonNotFound, "the log is empty")
	}
	return &route.Raw{Type: "text/plain; charset=utf-8", Body: []byte(text)}, nil
}

func (d *door) entries(ctx context.Context, c *route.Call) (any, error) {
	start, err := number(c, "start", 0, maxIndex, 0)
	if err != nil {
		return nil, err
	}
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	leaves, err := d.Log.Entries(ctx, start, int(limit))
	if err != nil {
		return nil, err
	}
	out, size := Entries{Start: start, Leaves: []attest.Bytes{}}, 0
	for _, l := range leaves {
		if size += len(l); size > maxEntries && len(out.Leaves) > 0 {
			break
		}
		out.Leaves = append(out.Leaves, l)
	}
	return out, nil
}

func (d *door) proof(ctx context.Context, c *route.Call) (any, error) {
	index, err := number(c, "index", 0, maxIndex, -1)
	if err != nil {
		return nil, err
	}
	size, err := number(c, "size", 1, maxIndex, -1)
	if err != nil {
		return nil, err
	}
	if index >= size {
		return nil, release.Refuse(release.ReasonBadRequest, "index %d is not in a log of %d entries", index, size)
	}
	path, err := d.Log.Prove(ctx, index, size)
	if err != nil {
		return nil, err
	}
	out := Proof{Index: index, Size: size, Path: []attest.Bytes{}}
	for _, h := range path {
		out.Path = append(out.Path, h)
	}
	return out, nil
}

func (d *door) decision(ctx context.Context, c *route.Call) (any, error) {
	index, err := decimal(c.Params["index"], 0, maxIndex)
	if err != nil {
		return nil, err
	}
	leaves, err := d.Log.Entries(ctx, index, 1)
	if err != nil {
		return nil, err
	}
	if len(leaves) == 0 {
		return nil, release.Refuse(release.ReasonNotFound, "the log has no entry %d", index)
	}
	rec, err := receipt.Decode(leaves[0])
	if err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "entry %d: %w", index, err)
	}
	out := &Decision{Index: index, Record: leaves[0]}
	return out, d.explain(ctx, rec, out)
}

// explain adds what was kept beside the record, and of a policy's decision why.
func (d *door) explain(ctx context.Context, rec *release.Record, out *Decision) error {
	var policy *release.ReleasePolicy
	if rec.Policy != (receipt.Digest{}) {
		var err error
		policy, err = found(d.Log.Policy(ctx, rec.Policy))
		if err != nil {
			return err
		}
	}
	if policy != nil {
		out.Policy = &Policy{ContentType: policy.ContentType, Data: policy.Data}
	}
	var input []byte
	if rec.Input != (receipt.Digest{}) {
		var err error
		if input, err = d.Log.Input(ctx, out.Index); err != nil {
			return err
		}
		if sha256.Sum256(input) != rec.Input {
			return release.Refuse(release.ReasonIntegrity, "the input document of entry %d is not the recorded one", out.Index)
		}
		out.Input = input
	}
	if err := d.refusal(ctx, out); err != nil {
		return err
	}
	switch judged := rec.Kind == receipt.KindRelease && ofPolicy(rec); {
	case judged && input != nil && policy != nil:
		var err error
		out.Explanation, err = d.Policies.Explain(ctx, *policy, input)
		return err
	case judged && policy == nil:
		out.Note = "policy_gone"
	case rec.Decision == receipt.Deny && out.Refusal == nil:
		out.Note = "no_input"
	}
	return nil
}

// ofPolicy says that the release policy made the decision: then, and only then,
// evaluating it again says why.
func ofPolicy(rec *release.Record) bool {
	switch release.Reason(rec.Reason) {
	case release.ReasonPolicyDenied, release.ReasonPolicyError, release.ReasonPolicyResource, release.ReasonPolicyTimeout:
		return true
	}
	return false
}

// found makes nil of what is not there.
func found[T any](v T, err error) (T, error) {
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		var none T
		return none, nil
	}
	return v, err
}

// refusal gives what was kept of a denial.
func (d *door) refusal(ctx context.Context, out *Decision) error {
	kept, err := found(d.Log.Refusal(ctx, out.Index))
	if err != nil || kept == nil {
		return err
	}
	out.Refusal = &release.Refusal{}
	if err := json.Unmarshal(kept, out.Refusal); err != nil {
		return release.Refuse(release.ReasonIntegrity, "what was kept of entry %d: %w", out.Index, err)
	}
	return nil
}

func (d *door) refusals(context.Context, *route.Call) (any, error) {
	out := struct {
		Value any `json:"value"`
	}{[]any{}}
	if r, ok := d.Log.(Ring); ok {
		out.Value = r.Ring()
	}
	return out, nil
}

const maxIndex = 1 << 53 // exact in every JSON reader

// number reads a query parameter; without one it is def, or refused when def is below low.
func number(c *route.Call, name string, low, high, def int64) (int64, error) {
	s := c.Query.Get(name)
	if s == "" {
		if def < low {
			return 0, release.Refuse(release.ReasonBadRequest, "query parameter %s is required", name)
		}
		return def, nil
	}
	return decimal(s, low, high)
}

func decimal(s string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < low || n > high || strconv.FormatInt(n, 10) != s {
		return 0, release.Refuse(release.ReasonBadRequest, "%.32q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}
