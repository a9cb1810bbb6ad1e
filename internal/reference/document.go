package reference

import (
	"context"
	"maps"
	"math"

	"github.com/openskr/openskr/release"
)

// effective gives data.references at a time (Unix seconds): set → kind → value →
// {"label", "until"} of the entries in force then, and the sets of the file as
// they are; and the time for which it stays so. It is a pure function of its
// arguments, which it does not change.
func effective(sets map[string]map[string]*Kept, file map[string]any, at int64) (map[string]any, window) {
	doc := make(map[string]any, len(sets)+len(file))
	maps.Copy(doc, file)
	w := window{from: math.MinInt64, until: math.MaxInt64}
	for name, entries := range sets {
		set := map[string]any{}
		for _, k := range entries {
			w.bound(k.From, at)
			if k.Until != 0 {
				w.bound(k.Until, at)
			}
			if !k.At(at) {
				continue
			}
			kind, ok := set[k.Kind].(map[string]any)
			if !ok {
				kind = map[string]any{}
				set[k.Kind] = kind
			}
			until := k.Until
			if until == 0 {
				until = Forever
			}
			kind[k.Value] = map[string]any{"label": k.Label, "until": until}
		}
		doc[name] = set
	}
	return doc, w
}

// bound narrows w, which holds at, to one side of a moment.
func (w *window) bound(moment, at int64) {
	if moment <= at {
		w.from = max(w.from, moment)
	} else {
		w.until = min(w.until, moment)
	}
}

// policy evaluates with references that are current.
type policy struct {
	release.Policy
	s *Service
}

// Policy gives p, with the references in force at the moment of each evaluation.
func (s *Service) Policy(p release.Policy) release.Policy { return policy{p, s} }

// Evaluate implements release.Policy.
func (p policy) Evaluate(ctx context.Context, rp release.ReleasePolicy, in *release.Input) (release.Decision, error) {
	if err := p.s.Current(ctx); err != nil {
		err := release.Refuse(release.ReasonPolicyError, "reference values: %w", err)
		return release.Decision{Reason: err.Reason}, err
	}
	return p.Policy.Evaluate(ctx, rp, in)
}
