package route

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// Decode reads a body strictly into v and names what is wrong with it. Errors
// are *release.Error.
func Decode(body []byte, limit int, v any) error { return decode(body, limit, v, strict.Unmarshal) }

// DecodeKnown is Decode with unknown members ignored.
func DecodeKnown(body []byte, limit int, v any) error {
	return decode(body, limit, v, strict.UnmarshalKnown)
}

func decode(body []byte, limit int, v any, unmarshal func([]byte, int, any) error) error {
	if jsontext.Value(body).Kind() != '{' { // null would decode to nothing
		return release.Refuse(release.ReasonBadRequest, "body is not a JSON object")
	}
	err := unmarshal(body, limit, v)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strict.ErrTooLarge):
		return release.Refuse(release.ReasonTooLarge, "%w", err)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return release.Refuse(release.ReasonDuplicateMember, "body: %w", err)
	case errors.Is(err, json.ErrUnknownName):
		return release.Refuse(release.ReasonUnknownMember, "body: %w", err)
	default:
		return release.Refuse(release.ReasonBadRequest, "body: %w", err)
	}
}

// Strict makes a Handler of a function on a decoded native body.
func Strict[Req any](fn func(context.Context, *Call, *Req) (any, error)) Handler {
	return func(ctx context.Context, c *Call) (any, error) {
		var req Req
		if len(c.Body) > 0 { // empty only where the route says Optional
			if err := Decode(c.Body, len(c.Body), &req); err != nil {
				return nil, err
			}
		}
		return fn(ctx, c, &req)
	}
}
