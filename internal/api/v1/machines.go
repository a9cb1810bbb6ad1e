package v1

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// Machine is an enrolled machine as an operator sees it.
type Machine struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Labels   map[string]string `json:"labels"`
	EKHash   attest.Bytes      `json:"ek_hash"` // SHA-256 of the EK's SPKI
	EKIssuer string            `json:"ek_issuer"`
	EKSerial string            `json:"ek_serial"`
	Created  int64             `json:"created"` // Unix seconds
	Updated  int64             `json:"updated"`
	Index    int64             `json:"index"` // of the record of the last change
}

// MachinePage answers GET /v1/machines. Next is the value of ?after= for the
// following page, absent on the last.
type MachinePage struct {
	Value []Machine `json:"value"`
	Next  string    `json:"next,omitempty"`
}

// MachinePatch is the body of PATCH /v1/machines/{id}; at least one member. Labels
// replace the present ones.
type MachinePatch struct {
	Status string            `json:"status,omitempty"` // "approved" or "denied"
	Labels map[string]string `json:"labels,omitempty"`
}

// Limits of labels.
const (
	maxLabels     = 32
	maxLabelValue = 128 // characters
)

var (
	machineID = regexp.MustCompile(`^[0-9A-Za-z_-]{1,128}$`)
	labelName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,62}$`)
)

func (d *door) listMachines(ctx context.Context, c *route.Call) (any, error) {
	after := c.Query.Get("after")
	if after != "" && !machineID.MatchString(after) {
		return nil, release.Refuse(release.ReasonBadRequest, "after is not a machine id")
	}
	limit, err := number(c, "limit", 1, MaxPage, MaxPage)
	if err != nil {
		return nil, err
	}
	objects, err := d.Objects.List(ctx, release.ObjectMachine, after, int(limit)+1)
	if err != nil {
		return nil, err
	}
	page := MachinePage{Value: []Machine{}}
	for i, o := range objects {
		if i == int(limit) {
			page.Next = page.Value[i-1].ID
			break
		}
		m, err := machine(o)
		if err != nil {
			return nil, err
		}
		page.Value = append(page.Value, *m)
	}
	return page, nil
}

func (d *door) getMachine(ctx context.Context, c *route.Call) (any, error) {
	id := c.Params["id"]
	if !machineID.MatchString(id) {
		return nil, release.Refuse(release.ReasonBadRequest, "not a machine id")
	}
	o, err := d.Objects.Object(ctx, release.ObjectMachine, id)
	if err != nil {
		return nil, err
	}
	return machine(o)
}

func machine(o *release.Object) (*Machine, error) {
	e, err := enrolled(o)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		ID: o.Name, Status: e.Status, Labels: e.Labels, EKHash: e.EKHash, EKIssuer: e.EKIssuer, EKSerial: e.EKSerial,
		Created: e.Created, Updated: e.Updated, Index: o.Index,
	}
	if m.Labels == nil {
		m.Labels = map[string]string{}
	}
	return m, nil
}

func enrolled(o *release.Object) (*release.Enrolled, error) {
	var e release.Enrolled
	if err := decodeEnrolled(o.Value, &e); err != nil {
		return nil, release.Refuse(release.ReasonIntegrity, "machine %s: %w", o.Name, err)
	}
	return &e, nil
}

func (d *door) updateMachine(ctx context.Context, c *route.Call, req *MachinePatch) (any, error) {
	id := c.Params["id"]
	if !machineID.MatchString(id) {
		return nil, release.Refuse(release.ReasonBadRequest, "not a machine id")
	}
	if err := req.sound(); err != nil {
		return nil, err
	}
	op, detail := req.describe()
	rec := d.Record(ctx, op)
	rec.Object, rec.Detail = id, detail
	var changed release.Enrolled
	done, err := d.Objects.ChangeObject(ctx, rec, release.ObjectMachine, id, func(old *release.Object) ([]byte, error) {
		e, err := listed(old, id, d.Now().Unix())
		if err != nil {
			return nil, err
		}
		if req.Status != "" {
			e.Status = req.Status
		}
		if req.Labels != nil {
			e.Labels = req.Labels
		}
		e.Updated = d.Now().Unix()
		changed = *e
		return encodeEnrolled(e)
	})
	if err != nil {
		return nil, err
	}
	value, err := encodeEnrolled(&changed)
	if err != nil {
		return nil, err
	}
	return machine(&release.Object{Name: id, Index: done.Receipt.Index, Value: value})
}

// hardwareID is an id of attest.Identify. Such a machine never enrols, so an operator
// can deny or label it before or after it was seen.
var hardwareID = regexp.MustCompile(`^[a-z][a-z-]*-[0-9a-f]{64}$`)

// listed gives the present row of a machine, or a new one of hardware that had none.
func listed(old *release.Object, id string, now int64) (*release.Enrolled, error) {
	switch {
	case old != nil:
		return enrolled(old)
	case hardwareID.MatchString(id):
		return &release.Enrolled{Status: release.MachineApproved, Created: now}, nil
	}
	return nil, release.Refuse(release.ReasonNotFound, "no machine %s", id)
}

func (p *MachinePatch) sound() error {
	switch {
	case p.Status == "" && p.Labels == nil:
		return release.Refuse(release.ReasonBadRequest, "nothing to change: give status, labels or both")
	case p.Status != "" && p.Status != release.MachineApproved && p.Status != release.MachineDenied:
		return release.Refuse(release.ReasonBadRequest, "status %.16q, want %q or %q", p.Status, release.MachineApproved, release.MachineDenied)
	case len(p.Labels) > maxLabels:
		return release.Refuse(release.ReasonBadRequest, "%d labels, limit %d", len(p.Labels), maxLabels)
	}
	for k, v := range p.Labels {
		if !labelName.MatchString(k) || !labelText(v) {
			return release.Refuse(release.ReasonBadRequest,
				"label %.64q: names match %s, values have at most %d printable characters", k, labelName, maxLabelValue)
		}
	}
	return nil
}

// labelText refuses what an operator could misread: labels are input of policies.
func labelText(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.RuneCountInString(s) <= maxLabelValue
}

// describe names the operation and its detail for the record: enumerated values
// and a digest, since labels are free text.
func (p *MachinePatch) describe() (op string, detail map[string]string) {
	detail = map[string]string{}
	op = "machines/label"
	if p.Labels != nil {
		b, err := strict.Marshal(p.Labels)
		if err == nil { // a map of strings always encodes
			sum := sha256.Sum256(b)
			detail["labels"] = hex.EncodeToString(sum[:])
		}
	}
	if p.Status != "" {
		detail["status"] = p.Status
		op = map[string]string{release.MachineApproved: "machines/approve", release.MachineDenied: "machines/deny"}[p.Status]
	}
	return op, detail
}

// The value of a machine is written by encoding/json's rules for bytes (package
// release reads it so).
func decodeEnrolled(b []byte, e *release.Enrolled) error { return json.Unmarshal(b, e) }

func encodeEnrolled(e *release.Enrolled) ([]byte, error) { return strict.Marshal(e) }
