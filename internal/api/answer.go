package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// answer sends what a handler gave.
func (f *funnel) answer(w http.ResponseWriter, c *route.Call, v any) error {
	raw, ok := v.(*route.Raw)
	if !ok {
		body, err := strict.Marshal(v)
		if held, ok := v.(route.Holding); ok {
			held.Clear()
			defer clear(body)
		}
		if err != nil {
			return release.Refuse(release.ReasonInternal, "answer of %s: %w", c.Operation, err)
		}
		raw = &route.Raw{Type: "application/json; charset=utf-8", Body: body}
	}
	status := raw.Status
	if status == 0 {
		status = http.StatusOK
	}
	if status != http.StatusNoContent { // it has no body, so that nothing is said of one
		w.Header().Set("Content-Type", raw.Type)
		w.Header().Set("Content-Length", strconv.Itoa(len(raw.Body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(raw.Body) // the caller is gone; there is nobody to tell
	return nil
}

// refuse records an error, tells the operator all of it and the caller its code.
func (f *funnel) refuse(w http.ResponseWriter, r *http.Request, c *route.Call, err error) {
	err = f.record(r.Context(), c, err)
	p := newProblem(c, err)
	f.Metrics.Refusal(c.Operation, string(p.reason))
	id := ""
	if c.Caller != nil {
		id = c.Caller.ID
	}
	attrs := []any{
		"correlation", c.Correlation, "operation", c.Operation, "reason", string(p.reason), "status", int(p.class),
		"source", c.Source, "caller", id, "error", err,
	}
	if p.class >= release.ClassInternal {
		f.Logger.Error("request failed", attrs...)
	} else {
		f.Logger.Info("request refused", attrs...)
	}
	if p.class == release.ClassUnauthorized {
		w.Header().Set("WWW-Authenticate", f.challenge(c.Host))
	}
	p.write(w)
}

// record puts a refusal into the log: in full for a proven principal, counted for
// anybody else. If it cannot be written, that is the error: nothing was done, and
// a refusal that leaves no trace is not given.
func (f *funnel) record(ctx context.Context, c *route.Call, err error) error {
	reason := release.ReasonOf(err)
	switch class := reason.Class(); {
	case route.IsRecorded(err), class >= release.ClassInternal && reason != release.ReasonOverloaded:
		return err // failures are not refusals
	case c.Caller == nil, class == release.ClassThrottled: // a record each would cost what the limit saves
		f.Log.Refused(err, c.Source, c.Correlation)
		return err
	case class == release.ClassNotFound, class == release.ClassMethod, reason == release.ReasonOverloaded:
		return err // nothing was refused that is there
	}
	rec := f.Record(c.With(ctx), c.Operation)
	rec.Decision, rec.Reason = receipt.Deny, string(reason)
	if name := c.Params["name"]; keyvault.ValidName(name) { // a record has no free text of a caller
		rec.Vault, rec.Object = c.Vault, name
	}
	if v := c.Params["version"]; keyvault.ValidVersion(v) {
		rec.Version = v
	}
	if _, lost := f.Log.Append(context.WithoutCancel(ctx), release.Entry{Record: rec, Refusal: release.RefusalOf(err)}); lost != nil {
		return errors.Join(lost, err)
	}
	return err
}

// challenge is the one form of WWW-Authenticate that all Key Vault clients parse
// (wire format: §1.2): a tenant in the URL, comma and space, quoted values.
func (f *funnel) challenge(host string) string {
	if host == "" {
		host = f.Hosts[0]
	}
	resource := f.Resource
	if resource == "" {
		resource = "https://" + identity.Parent(host)
	}
	return `Bearer authorization="https://` + host + `/` + f.Deployment + `", resource="` + resource + `"`
}
