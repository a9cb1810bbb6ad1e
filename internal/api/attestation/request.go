package attestation

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// purposes of runtime data that our own protocol uses. Evidence for those is never
// turned into a token, so that nobody can pass a native request off as another.
var purposes = append(binding.KeyPurposes(), binding.PurposeToken)

// request is a body of POST /attest/…, names folded: Azure's clients differ in case.
type request struct {
	evidence string         // member "report" or "quote"
	runtime  data           // runtimeData
	init     data           // initTimeData
	nonce    jsontext.Value // string or number, as sent; nil: none
	denials  string         // the deny list that the evidence was held against
}

// data is runtime or init-time data: bytes, and the JSON object they are if they were
// sent as one. Both nil: none was sent.
type data struct {
	bytes []byte
	json  jsontext.Value
}

// members reads one JSON object with the names of known in any ASCII case; others are
// ignored. Two that differ in case only are refused, and names that are almost known.
func members(body []byte, limit int, known ...string) (map[string]jsontext.Value, error) {
	if jsontext.Value(body).Kind() != '{' { // null would decode to nothing
		return nil, release.Refuse(release.ReasonBadRequest, "not a JSON object")
	}
	var sent map[string]jsontext.Value
	if err := strict.Unmarshal(body, limit, &sent); err != nil {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return nil, release.Refuse(release.ReasonDuplicateMember, "%w", err)
		}
		return nil, release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	names := make(map[string]string, len(known))
	for _, name := range known {
		names[route.FoldMember(name)] = name
	}
	seen, out := make(map[string]bool, len(sent)), make(map[string]jsontext.Value, len(known))
	for name, v := range sent {
		low := route.FoldMember(name)
		if seen[low] {
			return nil, release.Refuse(release.ReasonDuplicateMember, "member %.64q twice, in different case", name)
		}
		seen[low] = true
		exact, ok := names[low]
		if !ok {
			if err := route.Ignore(name, known...); err != nil {
				return nil, err
			}
		} else if v.Kind() != 'n' {
			out[exact] = v
		}
	}
	return out, nil
}

// text reads a string member; absent is "".
func text(m map[string]jsontext.Value, name string) (s string, err error) {
	v, ok := m[name]
	if !ok {
		return "", nil
	}
	if json.Unmarshal(v, &s) != nil {
		return "", release.Refuse(release.ReasonBadRequest, "%s is not a string", name)
	}
	return s, nil
}

// parseRequest reads a body whose evidence is the member named field.
func parseRequest(body []byte, field string) (*request, error) {
	m, err := members(body, maxReport, field, "runtimeData", "initTimeData", "nonce", "draftPolicyForAttestation")
	if err != nil {
		return nil, err
	}
	r := &request{}
	if r.evidence, err = text(m, field); err != nil {
		return nil, err
	}
	if r.evidence == "" {
		return nil, release.Refuse(release.ReasonBadRequest, "%s is missing", field)
	}
	if draft, err := text(m, "draftPolicyForAttestation"); err != nil || draft != "" {
		return nil, release.Refuse(release.ReasonNotOffered, "draft policies, whose tokens would be unsigned, are not offered")
	}
	if r.runtime, err = parseData(m["runtimeData"]); err != nil {
		return nil, err
	}
	if r.init, err = parseData(m["initTimeData"]); err != nil {
		return nil, err
	}
	if r.nonce, err = parseNonce(m["nonce"]); err != nil {
		return nil, err
	}
	return r, purpose(r.runtime.bytes)
}

// parseData reads {"data": base64, "dataType": "Binary" or "JSON"}. Clients send it
// with both members empty where they have none.
func parseData(v jsontext.Value) (d data, err error) {
	if len(v) == 0 {
		return data{}, nil
	}
	m, err := members(v, maxReport, "data", "dataType")
	if err != nil {
		return data{}, err
	}
	encoded, err := text(m, "data")
	if err != nil || encoded == "" {
		return data{}, err
	}
	typ, err := text(m, "dataType")
	if err != nil {
		return data{}, err
	}
	if d.bytes, err = decodeBinary(encoded, binding.MaxSize); err != nil {
		return data{}, err
	}
	switch route.FoldMember(typ) {
	case "binary":
		return d, nil
	case "json":
	default:
		return data{}, release.Refuse(release.ReasonBadRequest, "dataType %.16q, want Binary or JSON", typ)
	}
	if err := strict.Unmarshal(d.bytes, binding.MaxSize, &d.json); err != nil || d.json.Kind() != '{' {
		return data{}, release.Refuse(release.Reason(attest.CheckRuntimeData), "data sent as JSON is not one strict JSON object: %v", err)
	}
	return d, nil
}

// purpose refuses the runtime data of our own protocol, in whatever type it came.
func purpose(runtimeData []byte) error {
	var doc map[string]jsontext.Value
	if strict.Unmarshal(runtimeData, binding.MaxSize, &doc) != nil {
		return nil // so no native request has it either
	}
	var said string
	if json.Unmarshal(doc["purpose"], &said) == nil && slices.Contains(purposes, said) {
		return release.Refuse(release.ReasonPurpose, "runtime data of purpose %q is for the native door", said)
	}
	return nil
}

// Bounds of a nonce: text in bytes, and the digits of 64 bits.
const (
	maxNonce  = 1 << 10
	maxDigits = 20
)

// parseNonce takes text or an unsigned number, as it stands: 64 bits do not fit the
// floating point that a decoder would make of them.
func parseNonce(v jsontext.Value) (jsontext.Value, error) {
	switch {
	case len(v) == 0 || string(v) == `""`:
		return nil, nil
	case v.Kind() == '"' && len(v) <= maxNonce:
		return v, nil
	case v.Kind() == '0' && len(v) <= maxDigits && strings.Trim(string(v), "0123456789") == "":
		return v, nil
	}
	return nil, release.Refuse(release.ReasonBadRequest, "nonce of %d bytes is neither text nor an unsigned number", len(v))
}

var raw = base64.RawURLEncoding.Strict()

// decodeBinary reads base64 of either alphabet, padded or not: Azure's clients send all.
func decodeBinary(s string, limit int) ([]byte, error) {
	if len(s) > limit*4/3+4 {
		return nil, release.Refuse(release.ReasonTooLarge, "base64 of %d characters, limit %d bytes", len(s), limit)
	}
	if strings.ContainsAny(s, "\r\n") { // the decoder skips them
		return nil, release.Refuse(release.ReasonBadRequest, "base64 with line breaks")
	}
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	if bare := strings.TrimRight(s, "="); len(bare) != len(s) {
		if len(s)%4 != 0 || len(s)-len(bare) > 2 {
			return nil, release.Refuse(release.ReasonBadRequest, "base64 with wrong padding")
		}
		s = bare
	}
	b, err := raw.DecodeString(s)
	if err != nil {
		return nil, release.Refuse(release.ReasonBadRequest, "base64: %w", err)
	}
	return b, nil
}
